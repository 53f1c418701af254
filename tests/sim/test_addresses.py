"""A robot in a model with other bodies: it is found by name, simulated as if it were alone, and read correctly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from protege.core.errors import UserError
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.state import RobotState
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot
from protege.sim.robots.addresses import addresses
from protege.sim.robots.mjcf import build_spec
from protege.sim.simulators.mujoco import MujocoSimulator
from protege.sim.simulators.simulator import Simulator, Variation, make_simulator

ROBOT = get_robot("smpl")
N, J, B = 2, ROBOT.num_joints, ROBOT.num_bodies
ALL = torch.ones(N, dtype=torch.bool)
HOLD = ROBOT.default_pose().expand(N, J)
MASS = 5.0
BOX = {"type": mujoco.mjtGeom.mjGEOM_BOX, "size": [0.1, 0.1, 0.1], "mass": MASS, "contype": 0, "conaffinity": 0}


def crowded_spec(*_: object) -> mujoco.MjSpec:
    """A free box with a flap on a servo, then the robot, then another free box."""
    robot, spec = build_spec(ROBOT), mujoco.MjSpec()
    for name in ("timestep", "integrator", "iterations", "ls_iterations"):
        setattr(spec.option, name, getattr(robot.option, name))
    first = spec.worldbody.add_body(name="first", pos=[3.0, 0.0, 2.0])
    first.add_freejoint(name="first")
    first.add_geom(**BOX)
    flap = first.add_body(name="flap", pos=[0.1, 0.0, 0.0])
    flap.add_joint(name="flap", axis=[0, 1, 0])
    flap.add_geom(**BOX)
    spec.add_actuator(name="flap", target="flap", trntype=mujoco.mjtTrn.mjTRN_JOINT)
    spec.attach(robot, prefix="", frame=spec.worldbody.add_frame())
    last = spec.worldbody.add_body(name="last", pos=[-3.0, 0.0, 2.0])
    last.add_freejoint(name="last")
    last.add_geom(**BOX)
    return spec


@pytest.fixture(scope="module", params=["mujoco", "mjwarp"])
def pair(request: pytest.FixtureRequest):
    """A simulation of the robot alone, and one of it with the other bodies."""
    name: str = request.param
    alone = make_simulator(name, ROBOT, N, device="cpu", num_threads=1, varied=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"protege.sim.simulators.{name}.build_spec", crowded_spec)
        crowded = make_simulator(name, ROBOT, N, device="cpu", num_threads=1, varied=True)
    yield alone, crowded
    alone.close()
    crowded.close()


def standing(height: float) -> RobotState:
    pos, still = torch.tensor([0.0, 0.0, height]).expand(N, 3), torch.zeros(N, 3)
    quat = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(N, 4)
    return Kinematics(ROBOT).state(pos, quat, still, still, HOLD, torch.zeros(N, J))


def played(sim: Simulator, height: float, steps: int) -> torch.Tensor:
    """Positions and velocities of all bodies and joints after each step of some random targets."""
    sim.write(ALL, standing(height))
    generator, rows = torch.Generator().manual_seed(3), []
    for _ in range(steps):
        assert not sim.step(HOLD + 0.2 * torch.randn(N, J, generator=generator)).any()
        rows.append(torch.cat([x.flatten(1) for x in vars(sim.state).values()], dim=1))
    return torch.stack(rows)


def assert_alike(pair: tuple[Simulator, Simulator], height: float, steps: int) -> None:
    """To 1e-6 in double precision. `mjwarp`, in single precision, adds up in another order where a model is larger: 1e-3 m/s."""
    alone, crowded = (played(sim, height, steps) for sim in pair)
    double = isinstance(pair[0], MujocoSimulator)
    torch.testing.assert_close(crowded, alone, atol=1e-6 if double else 1e-3, rtol=0.0)


def test_a_robot_is_found_by_name():
    model = crowded_spec().compile()
    at = addresses(model, ROBOT)
    assert (at.root, at.bodies) == (3, slice(3, 3 + B))
    assert (at.qpos, at.joint_pos) == (slice(8, 15 + J), slice(15, 15 + J))
    assert (at.qvel, at.joint_vel) == (slice(7, 13 + J), slice(13, 13 + J))
    assert at.actuators == slice(1, 1 + J)
    assert [model.body(i).name for i in range(model.nbody)[at.bodies]] == list(ROBOT.body_names)


@pytest.mark.parametrize("part", ["bodies", "joints"])
def test_a_model_with_another_order_is_rejected(part):
    other = replace(ROBOT, **{part: getattr(ROBOT, part)[::-1]})
    with pytest.raises(UserError, match=f"has the robot's {part} in another order than its description"):
        addresses(build_spec(ROBOT).compile(), other)


def test_other_bodies_do_not_change_its_motion(pair):
    """A second in the air, moved by its servos."""
    assert_alike(pair, 6.0, 30)


def test_other_bodies_do_not_change_its_landing(pair):
    """In single precision for 0.4 s: contacts amplify rounding."""
    assert_alike(pair, 1.0, 30 if isinstance(pair[0], MujocoSimulator) else 12)


def test_its_state_is_read_correctly(pair):
    for sim in pair:
        want = standing(2.0)
        sim.write(ALL, want)
        for name, value in vars(sim.state).items():
            torch.testing.assert_close(value, getattr(want, name), atol=2e-6, rtol=0.0)


def test_only_the_robot_is_pushed(pair):
    force = torch.tensor([[300.0, 0.0, 0.0], [0.0, -300.0, 0.0]])
    for sim in pair:
        sim.push(force)
    assert_alike(pair, 2.0, 6)
    pushed = played(pair[1], 2.0, 6)
    for sim in pair:
        sim.push(torch.zeros(N, 3))
    assert (pushed - played(pair[1], 2.0, 6)).abs().max() > 0.1


def test_contact_forces_are_those_of_the_robot_only(pair):
    forces = []
    for sim in pair:
        sim.write(ALL, standing(0.95))
        for _ in range(10):
            sim.step(HOLD)
        forces.append(sim.contact_force_w())
    assert forces[1].shape == (N, B, 3)
    assert forces[1][:, ROBOT.body_ids(ROBOT.feet), 2].sum() > 0.5 * N * 9.81 * ROBOT.mass
    torch.testing.assert_close(forces[1], forces[0], atol=0.1, rtol=0.0)


def test_only_its_own_bodies_are_varied(pair):
    generator = torch.Generator().manual_seed(5)

    def factors(*shape: int) -> torch.Tensor:
        return 0.8 + 0.4 * torch.rand(*shape, generator=generator)

    variation = Variation(mass=factors(N, B), com=0.02 * (factors(N, B, 3) - 1.0), gains=factors(N, J, 2))
    for sim in pair:
        sim.randomize(ALL, variation)
    assert_alike(pair, 2.0, 10)
    same = Variation(mass=torch.ones(N, B), com=torch.zeros(N, B, 3), gains=torch.ones(N, J, 2))
    for sim in pair:
        sim.randomize(ALL, same)


def test_a_reset_restores_the_other_bodies():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("protege.sim.simulators.mujoco.build_spec", crowded_spec)
        sim = make_simulator("mujoco", ROBOT, N, device="cpu", num_threads=1)
    data = sim.data  # pyright: ignore[reportAttributeAccessIssue]
    sim.write(ALL, standing(2.0))
    start = data[0].qpos.copy()
    sim.step(HOLD)
    assert data[0].body("first").xpos[2] < 2.0
    sim.write(ALL, standing(2.0))
    np.testing.assert_array_equal(data[0].qpos, start)
    sim.close()
