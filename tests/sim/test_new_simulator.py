"""A simulator in another package needs a class and an entry point of the group `protege.simulators`."""

from pathlib import Path

import pytest
import torch

from protege.core.errors import UserError
from protege.core.runs.config import RunConfig, compose
from protege.sim.env_config import EnvConfig
from protege.sim.plugin import plugin
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import Simulator, find_simulator, is_installed, make_simulator


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata that `pip install` of such a package writes."""
    info = tmp_path / "toy_simulator-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-simulator\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protege.simulators]\ntoy = toy_simulator:ToySimulator\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.mark.usefixtures("installed")
def test_a_simulator_of_another_package_is_found():
    assert is_installed("toy")
    assert find_simulator("toy").__name__ == "ToySimulator"
    simulator: Simulator = make_simulator("toy", get_robot("smpl"), 2, device="cpu")
    target = torch.full((2, 69), 0.1)
    assert not simulator.step(target).any()
    torch.testing.assert_close(simulator.state.joint_pos, target)


@pytest.mark.usefixtures("installed")
def test_the_environment_runs_in_it():
    parts = {"run": RunConfig, "env": EnvConfig}
    clip = "run.motion_file=[smpl_humanoid_walk.npy]"
    config = compose(parts, None, ["run.robot=smpl", "run.simulator=toy", "run.device=cpu", clip, "env.num_envs=2"])
    env = plugin.make(config.run, config.env)
    obs = env.reset()
    for _ in range(3):
        step = env.step(obs["reference_joint_pos"] - env.default_joint_pos)
        obs = step.obs
        assert step.reward.isfinite().all() and not step.invalid.any()
    env.close()


def test_without_its_package_the_known_ones_are_named():
    assert not is_installed("toy")
    with pytest.raises(UserError, match=r"no simulator 'toy'\. Known: mujoco, mjwarp, isaaclab"):
        find_simulator("toy")
