"""Domain randomisation: its effect in each backend, and the terms in the environment."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from robot_states import N, hold, on_its_feet, resting

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.robot import FRICTION, Body, Robot
from protege.core.runs.config import RunConfig, compose
from protege.sim.engine import mujoco
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig, NoiseParams, RandomizationParams, push_test
from protege.sim.plugin import plugin
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec, coordinates
from protege.sim.simulators.simulator import SIMULATORS, Simulator, Variation, make_simulator

ROBOT = get_robot("smpl")
J, DT = ROBOT.num_joints, ROBOT.control_dt
ALL = torch.ones(N, dtype=torch.bool)
WALK = "smpl_humanoid_walk.npy"
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


# Backends ----------------------------------------------------------------------------------------------------------------


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


# In the environment ------------------------------------------------------------------------------------------------------

EVERYTHING = RandomizationParams(
    friction=(0.5, 1.0),
    mass=(0.9, 1.1),
    com=0.01,
    stiffness=(0.9, 1.1),
    damping=(0.9, 1.1),
    velocity_step_up=0.1,
    velocity_step_turn=0.2,
    latency=(0.0, 2 * DT),
    push_force=(20.0, 50.0),
    push_interval=(0.1, 0.2),
    push_time=0.1,
    noise=NoiseParams(0.01, 0.1, 0.02, 0.05, 0.1),
)


def make_env(
    params: RandomizationParams, num_envs: int = 4, simulator: str = "mujoco", evaluation: bool = False, **config
) -> HumanoidEnv:
    run = RunConfig(robot="smpl", simulator=simulator, device="cpu", motion_file=[WALK], num_threads=1)
    env = EnvConfig(num_envs=num_envs, num_plans=4, history_steps=2, randomization=params, **config)
    return plugin.make(run, env, evaluation=evaluation)


def follow(env: HumanoidEnv, obs: dict[str, torch.Tensor]) -> torch.Tensor:
    return obs["reference_joint_pos"] - env.default_joint_pos


def test_terms_that_are_off_make_no_draws():
    """A policy that was trained with everything is evaluated as one that was not."""
    envs = [make_env(params, evaluation=True) for params in (EVERYTHING, RandomizationParams())]
    obs, want = (env.reset() for env in envs)
    for _ in range(5):
        assert all(torch.equal(obs[key], want[key]) for key in want)
        action = follow(envs[0], obs)
        obs, want = (env.step(action).obs for env in envs)
    assert torch.equal(envs[0].generator.get_state(), envs[1].generator.get_state())
    assert envs[0].state_dict()["randomization"] == {}


def test_evaluations_can_be_randomised():
    env = make_env(push_test(240.0), evaluation=True)
    assert env.randomization.pushes and not env.randomization.bodies
    env.reset()
    env.randomization.pushes.wait.zero_()
    torch.testing.assert_close(
        env.randomization.pushes.force_w(env.state),
        240.0 * R.rotate(R.heading(env.state.root_quat_w), torch.tensor([1.0, 0.0, 0.0]).expand(4, 3)),
    )


def test_actions_arrive_late_by_the_exact_number_of_steps(monkeypatch):
    env = make_env(RandomizationParams(latency=(2 * DT, 2 * DT)))
    obs, sent, arrived = env.reset(), [], []
    start, step = env.state.joint_pos.clone(), env.simulator.step
    monkeypatch.setattr(env.simulator, "step", lambda target: arrived.append(target.clone()) or step(target))
    for _ in range(6):
        sent.append(env.default_joint_pos + follow(env, obs))
        result = env.step(follow(env, obs))
        obs = result.obs
        assert not result.ended.any()
    torch.testing.assert_close(arrived[0], start)
    torch.testing.assert_close(arrived[1], start)
    assert all(torch.equal(got, want) for got, want in zip(arrived[2:], sent, strict=False))


def test_each_env_has_its_own_latency():
    env = make_env(RandomizationParams(latency=(DT, 3 * DT)), num_envs=64)
    env.reset()
    assert env.randomization.latency
    assert set(env.randomization.latency.delay.tolist()) == {1, 2, 3}


def test_a_new_episode_is_another_body_and_starts_at_rest_of_old_actions():
    env = make_env(RandomizationParams(mass=(0.5, 1.5), latency=(DT, DT)), episode_length_s=0.1)
    obs = env.reset()
    before = env.simulator.state_dict()["body_mass"]
    for _ in range(2):
        obs = env.step(follow(env, obs)).obs
    assert torch.equal(env.simulator.state_dict()["body_mass"], before), "the same all through an episode"
    assert env.step(follow(env, obs) + 0.5).timed_out.all()
    after = env.simulator.state_dict()["body_mass"]
    assert ((after != before).all(dim=0)[1:]).all() and torch.equal(after[:, 0], before[:, 0])
    nominal = torch.from_numpy(build_spec(ROBOT).compile().body_mass.copy())[1:]
    ratio = torch.cat([before, after])[:, 1:] / nominal
    assert 0.5 <= ratio.min() < 0.6 and 1.4 < ratio.max() <= 1.5
    assert env.randomization.latency
    torch.testing.assert_close(env.randomization.latency.queue[:, 0], env.state.joint_pos - env.default_joint_pos)


def test_noise_is_in_the_observations_only():
    noise = NoiseParams(joint_pos=0.02, joint_vel=0.3, root_rotation=0.05, root_lin_vel=0.1, root_ang_vel=0.2)
    env, plain = (make_env(RandomizationParams(noise=x), num_envs=64) for x in (noise, NoiseParams()))
    obs = plain.reset()
    env.reset()
    env.load_state_dict(plain.state_dict())
    step, want = (e.step(follow(plain, obs)) for e in (env, plain))
    assert not want.ended.any()
    assert torch.equal(step.reward, want.reward) and torch.equal(env.state.joint_pos, plain.state.joint_pos)
    assert all(torch.equal(step.obs[key], step.next_obs[key]) for key in step.obs)
    off = step.obs["proprioception"] - want.obs["proprioception"]
    spread = {"joint_pos": off[:, 13 : 13 + J], "joint_vel": off[:, 13 + J : 13 + 2 * J]}
    for what, x in spread.items():
        deviation = getattr(noise, what)
        assert x.mean().abs() < 0.1 * deviation and x.std() == pytest.approx(deviation, rel=0.1), what
    measured = env.randomization.measured(env.state)
    angle = R.angle_between(measured.root_quat_w, env.state.root_quat_w)
    assert angle.square().mean() == pytest.approx(3 * noise.root_rotation**2, rel=0.3)
    for what in ("root_lin_vel", "root_ang_vel"):
        error = getattr(measured, f"{what}_w") - getattr(env.state, f"{what}_w")
        assert error.std() == pytest.approx(getattr(noise, what), rel=0.2), what
    assert torch.equal(measured.root_pos_w, env.state.root_pos_w)
    assert off[:, 13 + 2 * J :].abs().max() > 1e-3, "bodies are seen where the noisy joints put them"
    later = env.step(follow(plain, want.obs)).obs["proprioception"]
    assert not torch.equal(env.randomization.measured(env.state).joint_pos - env.state.joint_pos, spread["joint_pos"])
    assert torch.equal(env.history[:, 0], step.obs["proprioception"]) and later.isfinite().all()


def test_pushes_have_the_given_intervals_and_durations():
    params = RandomizationParams(push_force=(10.0, 20.0), push_interval=(0.2, 0.5), push_time=0.1)
    env = make_env(params, num_envs=8)
    env.reset()
    pushes, forces = env.randomization.pushes, []
    assert pushes
    for _ in range(100):
        forces.append(pushes.force_w(env.state))
        pushes.advance()
    force = torch.stack(forces)
    size = force.norm(dim=2)
    pushed = size > 0.0
    assert (size[:6] == 0.0).all(), "the first one waits, too"
    assert 9.99 <= size[pushed].min() < 12.0 and 18.0 < size.max() <= 20.01 and (force[:, :, 2].abs() < 1e-3).all()
    assert (force[pushed][:, :2].sign().unique(dim=0).shape[0]) == 4, "from all sides"
    for index in pushed.T:
        counts = torch.unique_consecutive(index, return_counts=True)[1][1:-1].tolist()  # pushed, free, pushed, ...
        assert set(counts[0::2]) == {3} and all(6 <= count <= 15 for count in counts[1::2])


def test_pushes_reach_the_robot():
    env, plain = (make_env(push_test(x), evaluation=True) for x in (240.0, 0.0))
    obs = plain.reset()
    env.reset()
    env.load_state_dict({**plain.state_dict(), "randomization": env.randomization.state_dict()})
    assert env.randomization.pushes
    env.randomization.pushes.wait.zero_()
    for e in (env, plain):
        e.step(follow(plain, obs))
    forward = R.rotate_inverse(
        R.heading(plain.state.root_quat_w), env.state.root_lin_vel_w - plain.state.root_lin_vel_w
    )
    assert (forward[:, 0] > 0.1).all() and (forward[:, 0] > 3.0 * forward[:, 1].abs()).all()


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_saved_environment_with_everything_continues_exactly(simulator):
    env, other = (make_env(EVERYTHING, simulator=simulator, episode_length_s=0.4) for _ in range(2))
    obs = env.reset()
    for _ in range(5):
        obs = env.step(follow(env, obs)).obs
    saved = env.state_dict()
    other.load_state_dict(saved)
    for _ in range(15):
        action = follow(env, obs)
        want, got = env.step(action), other.step(action)
        obs = want.obs
        assert torch.equal(got.reward, want.reward)
        assert all(torch.equal(got.obs[key], want.obs[key]) for key in want.obs)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("friction=[1.2,0.5]", r"env\.randomization\.friction is \[1\.2, 0\.5\]\. The first must not be larger"),
        ("mass=[0,1]", r"env\.randomization\.mass\[0\] is 0\.0\. Take more than 0"),
        ("effort=[0,1]", r"env\.randomization\.effort\[0\] is 0\.0\. Take more than 0"),
        ("contact_time=[2,1]", r"env\.randomization\.contact_time is \[2\.0, 1\.0\]\. The first must not be larger"),
        ("velocity_step_turn=-1", r"env\.randomization\.velocity_step_turn is -1\.0\. Take 0 or more"),
        ("com=-0.1", r"env\.randomization\.com is -0\.1\. Take 0 or more"),
        ("latency=[-0.1,0.1]", r"env\.randomization\.latency\[0\] is -0\.1\. Take 0 or more"),
        ("push_force=[5]", r"env\.randomization\.push_force has 1 entries, not 2"),
        ("noise.joint_vel=-1", r"env\.randomization\.noise\.joint_vel is -1\.0\. Take 0 or more"),
        ("gravity=[1,2]", r"unknown key env\.randomization\.gravity"),
    ],
)
def test_bad_ranges_are_named(override, complaint):
    with pytest.raises(UserError, match=complaint):
        compose({"run": RunConfig, "env": EnvConfig}, None, [f"env.randomization.{override}"])
