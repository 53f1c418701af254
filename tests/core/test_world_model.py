"""Parts of training through a world model: by hand, by finite differences, and against true steps."""

from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st

from protege.core.learning.world_model import coordinates
from protege.core.learning.world_model.dynamics import WorldModel
from protege.core.learning.world_model.imagination import critic_targets
from protege.core.learning.world_model.learner import follow
from protege.core.learning.world_model.replay import Replay
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics


def random_state(n: int, joints: int, generator: torch.Generator) -> torch.Tensor:
    """(n, S): anywhere, facing anywhere, moving."""
    x = torch.randn(n, coordinates.size(joints), generator=generator)
    x[:, 3:7] = R.normalize(x[:, 3:7])
    return x


@given(seed=st.integers(0, 1000), joints=st.integers(1, 8))
def test_add_inverts_difference(seed, joints):
    generator = torch.Generator().manual_seed(seed)
    a, b = (random_state(4, joints, generator) for _ in range(2))
    reached = coordinates.add(a, coordinates.difference(a, b))
    flipped = (reached[:, 3:7] * b[:, 3:7]).sum(1, keepdim=True).sign()
    reached[:, 3:7] *= flipped
    torch.testing.assert_close(reached, b, atol=2e-5, rtol=1e-4)


def test_a_difference_by_hand():
    """A robot that faces left, one joint; it goes 1 m left, turns by 0.2 rad about the vertical, and its joint by 0.3 rad."""
    a = torch.tensor([[0.0, 0, 1, *R.from_yaw(torch.tensor(torch.pi / 2)), 1, 0, 0, 0, 0, 0, 0.1, 2.0]])
    b = torch.tensor([[0.0, 1, 1, *R.from_yaw(torch.tensor(torch.pi / 2 + 0.2)), 1.5, 0, 0, 0, 0, 1, 0.4, 0.0]])
    wanted = torch.tensor([[1.0, 0, 0, 0, 0, 0.2, 0.5, 0, 0, 0, 0, 1, 0.3, -2.0]])
    torch.testing.assert_close(coordinates.difference(a, b), wanted, atol=1e-6, rtol=0.0)


def test_a_difference_is_the_same_anywhere():
    """Both states moved over the ground and turned about the vertical together."""
    generator = torch.Generator().manual_seed(0)
    a, b = (random_state(6, 3, generator) for _ in range(2))
    turn, way = R.from_yaw(torch.tensor(1.1)), torch.tensor([3.0, -2.0, 0.5])

    def moved(x: torch.Tensor) -> torch.Tensor:
        turned = turn.expand(len(x), 4)
        return torch.cat([R.rotate(turned, x[:, :3]) + way, R.multiply(turned, x[:, 3:7]), x[:, 7:]], dim=1)

    same = coordinates.difference(moved(a), moved(b))
    torch.testing.assert_close(same, coordinates.difference(a, b), atol=2e-5, rtol=1e-4)


def test_kinematics_inverts_packing(robot):
    x = random_state(5, robot.num_joints, torch.Generator().manual_seed(1))
    state = coordinates.full_state(Kinematics(robot), x)
    assert state.body_pos_w.shape == (5, robot.num_bodies, 3)
    torch.testing.assert_close(coordinates.pack(state), x, atol=1e-5, rtol=1e-5)


def test_an_untrained_model_predicts_constant_velocities(robot):
    model, x = WorldModel(robot, [8]), random_state(3, robot.num_joints, torch.Generator().manual_seed(2))
    after = model(x, model.poses(x), x[:, -robot.num_joints :])
    pos, quat, lin, _, joint_pos, joint_vel = coordinates.unpack(x)
    dt = robot.control_dt
    torch.testing.assert_close(after[:, :3], pos + dt * R.rotate(quat, lin), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(coordinates.unpack(after)[4], joint_pos + dt * joint_vel, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(coordinates.unpack(after)[5], joint_vel)


def test_the_linear_part_is_found_by_regression(robot):
    """For dynamics whose residual is linear in the servos' errors."""
    generator, joints = torch.Generator().manual_seed(3), robot.num_joints
    model = WorldModel(robot, [8])
    x, target = random_state(4000, joints, generator), torch.randn(4000, joints, generator=generator)
    change = coordinates.drift(x, robot.control_dt)
    change[:, -joints:] += 0.5 * (target - coordinates.unpack(x)[4])
    explained = model.fit(x, target, coordinates.add(x, change))
    assert explained > 0.98  # of what is rounding in all but the joints' velocities, nothing is
    predicted = coordinates.difference(x, model(x, model.poses(x), target))
    assert (predicted - change)[:, -joints:].abs().mean() < 0.05


def test_the_gradient_through_a_step_matches_finite_differences(robot):
    generator, joints = torch.Generator().manual_seed(4), robot.num_joints
    model = WorldModel(robot, [16])
    torch.nn.init.normal_(model.net[-1].weight, std=0.5, generator=generator)
    model.double()
    x, direction = random_state(2, joints, generator).double(), torch.randn(2, joints, generator=generator).double()
    target = torch.zeros(2, joints, dtype=torch.float64, requires_grad=True)

    def height(servo_target: torch.Tensor) -> torch.Tensor:
        """Of all bodies together, two steps on."""
        y = x
        for _ in range(2):
            y = model(y, model.poses(y), servo_target)
        return model.poses(y)[0][..., 2].sum()

    (gradient,) = torch.autograd.grad(height(target), target)
    step = 1e-6 * direction
    numeric = (height(target.detach() + step) - height(target.detach() - step)) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), numeric, atol=1e-6, rtol=1e-5)


def test_the_rollout_loss_ignores_steps_after_an_episodes_end(robot):
    generator, joints = torch.Generator().manual_seed(5), robot.num_joints
    model = WorldModel(robot, [8])
    x = torch.stack([random_state(2, joints, generator) for _ in range(4)])
    target = torch.randn(3, 2, joints, generator=generator)
    alive = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    loss = model.rollout_loss(x, target, alive)
    other = x.clone()
    other[2:, 1] = torch.nan
    assert model.rollout_loss(other, target, alive) == loss
    assert loss != model.rollout_loss(x, target, torch.ones_like(alive))


# Replay ----------------------------------------------------------------------------------------------------------------


def filled(slots: int = 6, steps: int = 10, envs: int = 4) -> Replay:
    """States contain the numbers of the control step and the env; env 1 ends an episode with step 7."""
    rows = {"walk/index": torch.zeros(2, dtype=torch.long), "run/index": torch.zeros(2, dtype=torch.long)}
    replay = Replay(slots, 1, envs, rows, torch.device("cpu"))
    for step in range(steps):
        x = torch.zeros(envs, coordinates.size(1))
        x[:, 0], x[:, 1] = step, torch.arange(envs)
        indices = 100 * step + torch.arange(envs)
        ended = torch.tensor([False, step == 7, False, False])
        replay.add(x, torch.full((envs, 1), float(step)), {"walk/index": indices[:2], "run/index": indices[2:]}, ended)
    return replay


@given(seed=st.integers(0, 100), recent=st.floats(0.0, 1.0))
def test_windows_are_consecutive_steps_of_one_env(seed, recent):
    window = filled().windows(50, 3, recent, torch.Generator().manual_seed(seed))
    steps, env = window["x"][..., 0], window["x"][..., 1]
    assert torch.equal(steps, steps[0] + torch.arange(4.0).unsqueeze(1))
    assert torch.equal(env, env[:1].expand_as(env))
    assert steps.min() >= 4 and steps.max() <= 9  # six of ten steps are stored
    assert torch.equal(window["target"].squeeze(2), steps[:-1])
    gone = (env[:-1] == 1) & (steps[:-1] >= 7)
    assert torch.equal(window["alive"], (~gone).float())


def test_windows_cover_the_whole_replay():
    draws = filled().windows(2000, 2, 0.0, torch.Generator().manual_seed(0))["x"][0]
    assert set(draws[:, 0].tolist()) == {4.0, 5.0, 6.0, 7.0}
    assert set(draws[:, 1].tolist()) == {0.0, 1.0, 2.0, 3.0}


def test_starts_are_recent_and_have_their_task_states():
    slices = {"walk": slice(0, 2), "run": slice(2, 4)}
    start = filled().starts({"walk": 40, "run": 20}, slices, torch.Generator().manual_seed(0))
    step, env = start["x"][:, 0].long(), start["x"][:, 1].long()
    assert set(step.tolist()) == {8, 9}  # the latest quarter of six
    assert set(env[:40].tolist()) == {0, 1} and set(env[40:].tolist()) == {2, 3}
    assert torch.equal(torch.cat([start["walk/index"], start["run/index"]]), 100 * step + env)


def test_the_past_goes_back_to_the_episodes_start():
    """Env 1 ended an episode with step 7; the replay begins with step 4."""
    replay, slices = filled(), {"walk": slice(0, 2), "run": slice(2, 4)}
    start = replay.starts({"walk": 60, "run": 10}, slices, torch.Generator().manual_seed(0), past=6)
    step, env = start["x"][:, 0], start["x"][:, 1]
    first = torch.where(env == 1, 8.0, 4.0)
    wanted = torch.stack([torch.maximum(step - k, first) for k in range(1, 7)])
    assert torch.equal(start["past"][..., 0], wanted)
    assert torch.equal(start["past"][..., 1], env.expand(6, -1))


# Returns ---------------------------------------------------------------------------------------------------------------


def test_critic_targets_by_hand():
    """Three steps; the first env continues, the second fails in the second step, the third times out there."""
    rollout = SimpleNamespace(
        reward=torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]]),
        values=torch.tensor([[10.0, 10.0, 10.0], [20.0, 20.0, 20.0], [40.0, 40.0, 40.0]]),
        failed=torch.tensor([[False, False, False], [False, True, False], [False, False, False]]),
        timed_out=torch.tensor([[False, False, False], [False, False, True], [False, False, False]]),
    )
    last = 4 + 0.5 * 40  # 24
    second = 2 + 0.5 * (0.75 * 20 + 0.25 * last)  # 12.5
    first = 1 + 0.5 * (0.75 * 10 + 0.25 * second)  # 6.3125
    cut = 2 + 0.5 * 20
    wanted = [
        [first, 1 + 0.5 * (0.75 * 10 + 0.25 * 2.0), 1 + 0.5 * (0.75 * 10 + 0.25 * cut)],
        [second, 2.0, cut],
        [last] * 3,
    ]
    torch.testing.assert_close(critic_targets(rollout, gamma=0.5, lam=0.25), torch.tensor(wanted))  # pyright: ignore[reportArgumentType]


def test_an_average_moves_towards_the_module():
    mine, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for module, value in ((mine, 1.0), (other, 3.0)):
        for parameter in module.parameters():
            torch.nn.init.constant_(parameter, value)
    follow(mine, other, 0.75)
    assert [x.item() for x in mine.parameters()] == [1.5, 1.5]
