"""Domain randomisation: the terms in the environment. What backends make of them is in test_variations.py."""

import pytest
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.runs.config import RunConfig, compose
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig, NoiseParams, RandomizationParams, push_test
from protege.sim.plugin import plugin
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec
from protege.sim.simulators.simulator import SIMULATORS

ROBOT = get_robot("smpl")
J, DT = ROBOT.num_joints, ROBOT.control_dt
WALK = "smpl_humanoid_walk.npy"

EVERYTHING = RandomizationParams(
    friction=(0.5, 1.0),
    mass=(0.9, 1.1),
    com=0.01,
    stiffness=(0.9, 1.1),
    damping=(0.9, 1.1),
    velocity_step_up=0.1,
    velocity_step_turn=0.2,
    delay=(0.0, 2 * DT),
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


def test_each_env_has_its_own_delay_in_physics_steps():
    step = ROBOT.physics_dt
    env = make_env(RandomizationParams(delay=(step, 3 * step)), num_envs=64)
    env.reset()
    assert env.randomization.delay
    assert set(env.randomization.delay.simulator.late(ROBOT.substeps).tolist()) == {1, 2, 3}


def test_a_new_episode_is_another_body_and_starts_at_rest_of_old_actions():
    env = make_env(RandomizationParams(mass=(0.5, 1.5), delay=(DT, DT)), episode_length_s=0.1)
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
    assert env.randomization.delay
    torch.testing.assert_close(env.randomization.delay.targets[:, 0], env.state.joint_pos)


def test_noise_is_in_the_observations_only():
    noise = NoiseParams(joint_pos=0.02, joint_vel=0.3, root_rotation=0.05, root_lin_vel=0.1, root_ang_vel=0.2)
    env, plain = (make_env(RandomizationParams(noise=x), num_envs=64) for x in (noise, NoiseParams()))
    obs = plain.reset()
    env.reset()
    own = {key: x for key, x in env.state_dict().items() if key.startswith("true")}
    env.load_state_dict(plain.state_dict() | own)
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
    assert torch.equal(env.sensed.past[:, 0], step.obs["proprioception"]) and later.isfinite().all()


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
        ("motors=[1,0.5]", r"env\.randomization\.motors is \[1\.0, 0\.5\]\. The first must not be larger"),
        ("effort=[0,1]", r"env\.randomization\.effort\[0\] is 0\.0\. Take more than 0"),
        ("contact_time=[2,1]", r"env\.randomization\.contact_time is \[2\.0, 1\.0\]\. The first must not be larger"),
        ("velocity_step_turn=-1", r"env\.randomization\.velocity_step_turn is -1\.0\. Take 0 or more"),
        ("com=-0.1", r"env\.randomization\.com is -0\.1\. Take 0 or more"),
        ("delay=[-0.1,0.1]", r"env\.randomization\.delay\[0\] is -0\.1\. Take 0 or more"),
        ("push_force=[5]", r"env\.randomization\.push_force has 1 entries, not 2"),
        ("noise.joint_vel=-1", r"env\.randomization\.noise\.joint_vel is -1\.0\. Take 0 or more"),
        ("ramp=2", r"env\.randomization\.ramp is 2\.0\. Take 1 or less"),
        ("torso_com=-1", r"env\.randomization\.torso_com is -1\.0\. Take 0 or more"),
        ("physics_rate=[-1]", r"env\.randomization\.physics_rate\[0\] is -1\.0\. Take 0 or more"),
        ("physics_rate_time=0", r"env\.randomization\.physics_rate_time is 0\.0\. Take more than 0"),
        ("delay=[0.04,0.01]", r"env\.randomization\.delay is \[0\.04, 0\.01\]\. The first must not be larger"),
        ("gravity=[1,2]", r"unknown key env\.randomization\.gravity"),
    ],
)
def test_bad_ranges_are_named(override, complaint):
    with pytest.raises(UserError, match=complaint):
        compose({"run": RunConfig, "env": EnvConfig}, None, [f"env.randomization.{override}"])
