"""Simulators whose envs differ in their bodies: each backend against robots of that description and against MuJoCo."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from robot_states import N, hold, on_its_feet, resting

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.robot import FRICTION, Body, Robot
from protege.sim.engine import mujoco
from protege.sim.robots.mjcf import build_spec, coordinates
from protege.sim.simulators.simulator import SIMULATORS, Simulator, Variation, make_simulator

ALL = torch.ones(N, dtype=torch.bool)
ON_THE_BACK = (0.5**0.5, 0.0, -(0.5**0.5), 0.0)


def build(name: str, robot: Robot, varied: bool = True) -> Simulator:
    return make_simulator(name, robot, N, device="cpu", num_threads=1, varied=varied)


@pytest.fixture(scope="module", params=SIMULATORS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared(name: str, robot: Robot) -> Iterator[Simulator]:
    simulator = build(name, robot)
    yield simulator
    simulator.close()


@pytest.fixture
def sim(shared: Simulator, name: str) -> Simulator:
    """With nominal bodies and without pushes."""
    b, j = shared.robot.num_bodies, shared.robot.num_joints
    limits = {} if name == "isaaclab" else {"effort": torch.ones(N, j), "contact_time": torch.ones(N)}
    same = torch.ones(N), torch.ones(N, b), torch.zeros(N, b, 3), torch.ones(N, j, 2)
    shared.randomize(ALL, Variation(*same, **limits))
    shared.push(torch.zeros(N, 3))
    return shared


def rollout(sim: Simulator, steps: int) -> torch.Tensor:
    """Root pose and joints of all envs under random targets, (steps, N, 7 + J)."""
    generator, states = torch.Generator().manual_seed(1), []
    for _ in range(steps):
        sim.step(hold(sim.robot) + 0.2 * torch.randn(N, sim.robot.num_joints, generator=generator))
        s = sim.state
        states.append(torch.cat([s.root_pos_w, s.root_quat_w, s.joint_pos], dim=1))
    return torch.stack(states)


def random_variation(robot: Robot) -> Variation:
    generator = torch.Generator().manual_seed(2)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    b, j = robot.num_bodies, robot.num_joints
    mass, com, gains = uniform(0.8, 1.2, N, b), uniform(-0.02, 0.02, N, b, 3), uniform(0.8, 1.2, N, j, 2)
    return Variation(uniform(0.3, 0.9, N), mass, com, gains)


def described(robot: Robot, variation: Variation, env: int) -> Robot:
    """The robot whose description has an env's masses, centres of mass and gains. (Its shapes are moved, too.)"""
    assert variation.mass is not None and variation.com is not None and variation.gains is not None

    def body(index: int, body: Body) -> Body:
        factor, (x, y, z) = float(variation.mass[env, index]), variation.com[env, index].tolist()  # pyright: ignore[reportOptionalSubscript]
        inertia, (cx, cy, cz) = body.inertia, body.inertia.center
        moments = tuple(factor * moment for moment in inertia.moments)
        heavier = replace(inertia, mass=inertia.mass * factor, center=(cx + x, cy + y, cz + z), moments=moments)
        geoms = tuple(replace(g, pos=(g.pos[0] + x, g.pos[1] + y, g.pos[2] + z)) for g in body.geoms)
        return replace(body, inertia=heavier, geoms=geoms)

    joints = tuple(
        replace(joint, stiffness=joint.stiffness * stiffer, damping=joint.damping * damped)
        for joint, (stiffer, damped) in zip(robot.joints, variation.gains[env].tolist(), strict=True)
    )
    return replace(robot, bodies=tuple(body(i, b) for i, b in enumerate(robot.bodies)), joints=joints)


def center_of_mass(sim: Simulator) -> torch.Tensor:
    """Of robots with nominal bodies, or whose masses all have one factor, (N, 3) m."""
    model = build_spec(sim.robot).compile()
    mass, com_b = (torch.from_numpy(x[1:].copy()).float() for x in (model.body_mass, model.body_ipos))
    com_w = sim.state.body_pos_w + R.rotate(sim.state.body_quat_w, com_b.expand(N, -1, 3))
    return (mass[:, None] * com_w).sum(dim=1) / mass.sum()


def test_a_varied_env_equals_a_robot_with_that_description(sim, robot, name):
    variation = random_variation(robot)
    sim.randomize(ALL, variation)
    sim.write(ALL, resting(robot))
    mine = rollout(sim, 12)
    assert (mine[:, 0] - mine[:, 1]).abs().max() > 0.01, "envs differ"
    other = build(name, described(robot, variation, 1), varied=False)
    other.write(ALL, resting(robot))
    torch.testing.assert_close(mine[:, 1], rollout(other, 12)[:, 1], atol=1e-4, rtol=0.0)
    other.close()


def test_a_weak_env_equals_a_robot_with_that_description(sim, robot, name):
    effort = torch.linspace(0.01, 0.1, robot.num_joints).repeat(N, 1)
    effort[0] = 1.0
    if name == "isaaclab":
        with pytest.raises(UserError, match=r"isaaclab cannot vary env\.randomization\.effort"):
            sim.randomize(ALL, Variation(effort=effort))
        return
    sim.randomize(ALL, Variation(effort=effort))
    sim.write(ALL, resting(robot))
    mine = rollout(sim, 12)
    assert (mine[:, 0] - mine[:, 1]).abs().max() > 0.01, "envs differ"
    joints = tuple(
        replace(joint, effort_limit=joint.effort_limit * factor)
        for joint, factor in zip(robot.joints, effort[1].tolist(), strict=True)
    )
    other = build(name, replace(robot, joints=joints), varied=False)
    other.write(ALL, resting(robot))
    torch.testing.assert_close(mine[:, 1], rollout(other, 12)[:, 1], atol=1e-4, rtol=0.0)
    other.close()


def test_a_soft_env_equals_mujoco_with_that_time_constant(sim, robot, name):
    time = torch.tensor([1.0, 2.0, 4.0])
    if name == "isaaclab":
        with pytest.raises(UserError, match="contact_time"):
            sim.randomize(ALL, Variation(contact_time=time))
        return
    sim.randomize(ALL, Variation(contact_time=time))
    start = on_its_feet(robot)
    start.body_pos_w[..., 2] += 0.05
    sim.write(ALL, start)
    mine = torch.stack([sim.state.root_pos_w[:, 2].clone() for _ in range(8) if sim.step(hold(robot)) is not None])
    for env, factor in enumerate(time.tolist()):
        model = build_spec(robot).compile()
        model.geom_solref[:, 0] *= factor
        data = mujoco.MjData(model)
        data.qpos[:], _ = (x[env] for x in coordinates(start))
        for step in range(8):
            data.ctrl[:] = hold(robot)[env]
            mujoco.mj_step(model, data, robot.substeps)
            assert mine[step, env].item() == pytest.approx(data.qpos[2], abs=1e-3)
    lowest = mine.min(dim=0).values
    assert lowest[0] > lowest[1] + 1e-3 and lowest[1] > lowest[2] + 1e-3, "softer ground gives way further"


def test_a_doubled_mass_falls_equally_and_yields_half(sim, robot):
    sim.randomize(ALL, Variation(mass=torch.tensor([1.0, 2.0, 1.0])[:, None].expand(N, robot.num_bodies)))
    sim.write(ALL, resting(robot))
    sim.push(torch.tensor([[100.0, 0.0, 0.0]]).repeat(N, 1))
    start = center_of_mass(sim)
    for _ in range(6):
        sim.step(hold(robot))
    moved = center_of_mass(sim) - start
    torch.testing.assert_close(moved[1, 2], moved[0, 2], atol=0.0, rtol=1e-3)
    torch.testing.assert_close(moved[1, 0], moved[0, 0] / 2.0, atol=0.0, rtol=1e-2)


def test_a_push_gives_force_times_time(sim, robot):
    sim.write(ALL, resting(robot))
    force = torch.tensor([[240.0, 0.0, 0.0], [0.0, -100.0, 0.0], [0.0, 0.0, 0.0]])
    sim.push(force)
    for _ in range(6):
        sim.step(hold(robot))
    sim.push(torch.zeros(N, 3))
    for _ in range(2):
        before = center_of_mass(sim)
        sim.step(hold(robot))
        velocity = (center_of_mass(sim) - before) / robot.control_dt
        torch.testing.assert_close(
            velocity[:, :2], (force * 6 * robot.control_dt / robot.mass)[:, :2], atol=5e-3, rtol=5e-3
        )


def test_a_robot_in_a_slippery_env_slides_further(sim, robot):
    sim.randomize(ALL, Variation(friction=torch.tensor([1.0, 0.1, 1.0])))
    sim.write(ALL, resting(robot, height=0.2, quat=ON_THE_BACK, lin_vel=(0.0, 2.0, 0.0)))
    for _ in range(round(1.0 / robot.control_dt)):
        sim.step(hold(robot))
    slid = sim.state.root_pos_w[:, 1]
    assert slid[1] > 2.0 * slid[0] > 0.0
    torch.testing.assert_close(slid[2], slid[0])


def test_a_slippery_robot_slides_like_a_robot_in_a_slippery_env(sim, robot, name):
    """Friction of a robot's shapes decides with the ground, in every simulator."""
    lying = resting(robot, height=0.2, quat=ON_THE_BACK, lin_vel=(0.0, 2.0, 0.0))

    def slid(sim: Simulator) -> torch.Tensor:
        sim.write(ALL, lying)
        for _ in range(round(0.5 / robot.control_dt)):
            sim.step(hold(robot))
        return sim.state.root_pos_w

    def slippery(body: Body) -> Body:
        sliding, torsional, rolling = FRICTION
        friction = (0.1 * sliding, 0.1 * torsional, 0.1 * rolling)
        return replace(body, geoms=tuple(replace(geom, friction=friction) for geom in body.geoms))

    plain = slid(sim).clone()
    sim.randomize(ALL, Variation(friction=torch.full((N,), 0.1)))
    other = build(name, replace(robot, bodies=tuple(map(slippery, robot.bodies))), varied=False)
    torch.testing.assert_close(slid(other), slid(sim), atol=1e-3, rtol=0.0)
    assert (slid(other)[:, 1] > 1.2 * plain[:, 1]).all()
    other.close()


def test_a_shifted_centre_of_mass_leaves_the_shapes_where_they_are(sim, robot):
    com = torch.zeros(N, robot.num_bodies, 3)
    com[:, :, 0] = torch.tensor([[0.0], [-0.05], [0.05]])
    sim.randomize(ALL, Variation(com=com))
    sim.write(ALL, resting(robot, height=0.2, quat=ON_THE_BACK))
    for _ in range(round(1.0 / robot.control_dt)):
        sim.step(hold(robot))
    height = sim.state.root_pos_w[:, 2]
    assert sim.contact_force_w().norm(dim=2).sum(dim=1).min() > 100.0, "lying"
    torch.testing.assert_close(height, height[:1].expand(N), atol=1e-2 if robot.self_collision else 5e-3, rtol=0.0)


def test_only_masked_envs_change(sim, robot):
    sim.write(ALL, on_its_feet(robot))
    saved, want = sim.state_dict(), rollout(sim, 12)
    sim.load_state_dict(saved)
    sim.randomize(torch.tensor([False, True, False]), random_variation(robot))
    got = rollout(sim, 12)
    assert torch.equal(got[:, [0, 2]], want[:, [0, 2]])
    assert (got[:, 1] - want[:, 1]).abs().max() > 1e-3
    sim.load_state_dict(saved)
    assert torch.equal(rollout(sim, 12), want), "bodies are part of the state"


def test_factors_of_one_change_nothing(sim, robot, name):
    sim.write(ALL, on_its_feet(robot))
    plain = build(name, robot, varied=False)
    plain.write(ALL, on_its_feet(robot))
    torch.testing.assert_close(rollout(sim, 12), rollout(plain, 12), atol=1e-5, rtol=0.0)
    plain.close()
