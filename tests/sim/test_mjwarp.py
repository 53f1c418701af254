"""Properties of MuJoCo Warp beyond the contract of `test_simulator.py`: capacity, memory, devices, its extra."""

import subprocess
import sys

import pytest
import torch

from protege.core.errors import UserError
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.state import RobotState
from protege.core.runs.config import RunConfig, compose
from protege.core.runs.resuming import MAY_CHANGE
from protege.sim.env_config import EnvConfig
from protege.sim.plugin import plugin
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import make_simulator

pytest.importorskip("mujoco_warp")

from protege.sim.simulators import mjwarp, warp_device

ROBOT = get_robot("smpl")
WALK = "smpl_humanoid_walk.npy"
N, J = 3, ROBOT.num_joints
TARGET = ROBOT.default_pose().expand(N, J)


def standing(height: list[float]) -> RobotState:
    """At rest, upright, the pelvis so high (m) in each env."""
    pos = torch.zeros(len(height), 3)
    pos[:, 2] = torch.tensor(height)
    quat, still = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(len(height), 4), torch.zeros(len(height), 3)
    joints = ROBOT.default_pose().expand(len(height), J)
    return Kinematics(ROBOT).state(pos, quat, still, still, joints, torch.zeros(len(height), J))


def settle(simulator, height: list[float], steps: int) -> None:
    simulator.write(torch.ones(N, dtype=torch.bool), standing(height))
    for _ in range(steps):
        assert not simulator.step(TARGET).any()


# Capacity ----------------------------------------------------------------------------------------------------------------


def test_a_standing_robot_fits_the_capacity():
    simulator = make_simulator("mjwarp", ROBOT, N, device="cpu")
    settle(simulator, [0.93, 0.93, 0.93], 20)
    assert simulator.capacity.overflowed() == 0  # pyright: ignore[reportAttributeAccessIssue]
    simulator.capacity.check()  # pyright: ignore[reportAttributeAccessIssue]


def test_envs_beyond_the_constraint_capacity_are_counted(capfd):
    simulator = mjwarp.MjwarpSimulator(ROBOT, N, device="cpu", constraints=8)
    settle(simulator, [3.0, 3.0, 3.0], 2)
    assert simulator.capacity.overflowed() == 0, "nothing touches in the air"
    settle(simulator, [0.93, 3.0, 0.93], 5)
    assert simulator.capacity.overflowed() == 2
    with pytest.raises(UserError, match=r"mjwarp: 2 of 3 .* constraints\. Raise env\.mjwarp\.constraints \(now 8\)"):
        simulator.capacity.check()
    assert simulator.capacity.overflowed() == 0, "counted anew"
    simulator.capacity.check()
    assert capfd.readouterr() == ("", ""), "kernels print nothing"


def test_contacts_beyond_the_capacity_raise_an_error(monkeypatch, capfd):
    monkeypatch.setattr(warp_device, "CHECK_EVERY", 5)
    simulator = mjwarp.MjwarpSimulator(ROBOT, N, device="cpu", contacts=1)
    with pytest.raises(UserError, match=r"mjwarp: 3 of 3 .* contacts\. Raise env\.mjwarp\.contacts \(now 1\)"):
        settle(simulator, [0.93, 0.93, 0.93], 5)
    assert capfd.readouterr() == ("", "")


def test_the_config_sets_the_capacity():
    parts = {"run": RunConfig, "env": EnvConfig}
    common = ["robot=smpl", "simulator=mjwarp", "device=cpu", "num_envs=1", f"motion_file=[{WALK}]"]

    def room(*overrides: str) -> dict[str, int]:
        config = compose(parts, None, [*common, *overrides])
        simulator = plugin.make(config.run, config.env).simulator
        assert isinstance(simulator, mjwarp.MjwarpSimulator)
        return simulator.capacity.sizes

    assert room() == {"contacts": 32, "constraints": 192}
    assert room("env.mjwarp.contacts=64", "env.mjwarp.constraints=200") == {"contacts": 64, "constraints": 200}
    with pytest.raises(UserError, match=r"env\.mjwarp\.contacts is 0\. Take 1 or more"):
        room("env.mjwarp.contacts=0")
    assert {"env.mjwarp.contacts", "env.mjwarp.constraints"} < MAY_CHANGE, "may be raised when a run goes on"


def test_one_env_in_a_hundred_may_exceed_the_capacity():
    simulator = mjwarp.MjwarpSimulator(ROBOT, N, device="cpu", constraints=8)
    settle(simulator, [0.93, 3.0, 3.0], 5)
    assert simulator.capacity.overflowed() == 1
    simulator.capacity.allowed = 1
    simulator.capacity.check()


def test_an_env_with_failed_physics_is_not_counted():
    simulator = mjwarp.MjwarpSimulator(ROBOT, N, device="cpu", constraints=8)
    simulator.write(torch.ones(N, dtype=torch.bool), standing([0.93, 3.0, 3.0]))
    target = TARGET.clone()
    target[0, 3] = torch.nan
    assert simulator.step(target).tolist() == [True, False, False]
    assert simulator.capacity.overflowed() == 0


# Devices and memory ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_named(device):
    with pytest.raises(UserError, match=f"there is no device {device}; torch sees 0 CUDA GPUs. Take --device cpu"):
        make_simulator("mjwarp", ROBOT, 1, device=device)


def test_other_devices_are_refused():
    with pytest.raises(UserError, match="there is no device mps"):
        make_simulator("mjwarp", ROBOT, 1, device="mps")


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_gpu_if_there_is_one(there, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert RunConfig(simulator="mjwarp").torch_device() == device
    assert RunConfig(simulator="mujoco").torch_device() == "cpu"


def test_too_many_envs_raise_an_error_with_the_number_that_fits(monkeypatch):
    def full(*arguments, **room) -> None:
        raise RuntimeError("Failed to allocate 123456 bytes on device 'cuda:0'")

    monkeypatch.setattr(mjwarp.MjwarpSimulator, "_allocate", full)
    monkeypatch.setattr(warp_device, "free_memory", lambda device: 2**30)
    with pytest.raises(UserError) as complaint:
        make_simulator("mjwarp", ROBOT, 100_000, device="cpu")
    text = str(complaint.value)
    assert text.startswith("100000 envs do not fit into the 1.0 GiB that are free on cpu. Take env.num_envs=")
    fit = int(text.split("env.num_envs=")[1].split()[0])
    assert 4000 < fit < 8000 and fit % 100 == 0


def test_other_errors_are_not_reported_as_lack_of_memory(monkeypatch):
    def broken(*arguments, **room) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(mjwarp.MjwarpSimulator, "_allocate", broken)
    with pytest.raises(RuntimeError, match="something else"):
        make_simulator("mjwarp", ROBOT, 1, device="cpu")


def test_without_the_extra_one_line_says_what_to_install():
    program = """
import sys
sys.modules["mujoco_warp"] = None
from protege.core.errors import UserError
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import make_simulator
try:
    make_simulator("mjwarp", get_robot("smpl"), 1, device="cpu")
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == 'mujoco_warp is not installed. Install it: pip install "protege-sim[mjwarp]"\n', done.stderr
