"""Onboard sensors: by hand, and independent of the robot's position, height and velocity."""

import math

import pytest
import torch
from test_observations import Move, one_body, random_state

from protege.core import observations
from protege.core.errors import UserError
from protege.core.learning.policy import ActorCritic, ModelConfig
from protege.core.robots import rotation as R
from protege.core.robots.servos import Servos
from protege.core.robots.state import RobotState

H = math.sqrt(0.5)
SHAPES = {"proprioception": (9,), "history": (2, 9), "poses": (2, 3, 12), "pose_mask": (2, 3), "goal": (3,), "goal_mask": (),
          "onboard": (7,), "onboard_history": (2, 7), "onboard_poses": (2, 3, 9),
          "reference_joint_pos": (2,), "reference_joint_vel": (2,)}  # fmt: skip


def far_off(state: RobotState) -> RobotState:
    """The same robot 3 m to the side, 5 cm higher and 0.3 m/s faster."""
    moved, faster = torch.tensor([0.0, 3.0, 0.05]), torch.tensor([0.3, 0.0, 0.0])
    return RobotState(
        state.joint_pos,
        state.joint_vel,
        state.body_pos_w + moved,
        state.body_quat_w,
        state.body_lin_vel_w + faster,
        state.body_ang_vel_w,
    )


def test_an_imu_by_hand() -> None:
    left = torch.tensor([[H, 0.0, 0.0, H]])  # forward is world y
    state = one_body(quat=left)
    state.body_ang_vel_w = torch.tensor([[[1.0, 2.0, 3.0]]])
    quat, ang_vel = observations.imu(state, 0, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(quat, left)
    torch.testing.assert_close(ang_vel, torch.tensor([[2.0, -1.0, 3.0]]))
    # Mounted with its x axis up, its z axis back: a turn of -90 degrees about the body's y axis.
    quat, ang_vel = observations.imu(state, 0, torch.tensor([H, 0.0, -H, 0.0]))
    torch.testing.assert_close(ang_vel, torch.tensor([[3.0, -1.0, -2.0]]))
    torch.testing.assert_close(R.rotate(quat, torch.tensor([[1.0, 0.0, 0.0]])), torch.tensor([[0.0, 0.0, 1.0]]))


def test_onboard_observation_by_hand() -> None:
    nose_down = torch.tensor([[H, 0.0, H, 0.0]])  # a quarter turn about y: the body's x axis points down
    joints = torch.tensor([[0.5, -0.25]])
    sensed = observations.onboard(
        nose_down,
        torch.tensor([[0.1, 0.2, 0.3]]),
        joints,
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([0.25, 0.25]),
        torch.tensor([[7.0, 8.0]]),
    )
    expected = [1.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.25, -0.5, 1.0, 2.0, 7.0, 8.0]
    torch.testing.assert_close(sensed, torch.tensor([expected]))
    assert sensed.shape[1] == observations.onboard_size(2)


def test_target_poses_by_hand() -> None:
    left = torch.tensor([H, 0.0, 0.0, H])
    targets = torch.tensor(
        [[[[5.0, 6.0, 0.8], [5.0, 7.0, 0.5]]]]
    )  # the hand 1 m to the world's left of the root, and 0.3 m below
    seen = observations.onboard_poses(one_body(), targets, left.expand(1, 1, 2, 4))
    upright = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]  # turned as the robot is
    torch.testing.assert_close(seen[0, 0, 0], torch.tensor([0.0, 0.0, 0.8, *upright]))
    torch.testing.assert_close(seen[0, 0, 1], torch.tensor([1.0, 0.0, -0.3, *upright]))


def test_onboard_observations_do_not_depend_on_position_height_or_velocity() -> None:
    generator = torch.Generator().manual_seed(0)
    state = random_state(generator)
    moved, mount = far_off(state), R.normalize(torch.randn(4, generator=generator, dtype=torch.float64))
    pos = torch.randn(3, 2, 4, 3, generator=generator, dtype=torch.float64)
    quat = R.normalize(torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64))
    for mine, theirs in zip(observations.imu(state, 2, mount), observations.imu(moved, 2, mount), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(observations.onboard_poses(state, pos, quat), observations.onboard_poses(moved, pos, quat))
    elsewhere = pos + torch.tensor([4.0, -2.0, 0.0])
    torch.testing.assert_close(
        observations.onboard_poses(state, elsewhere, quat), observations.onboard_poses(state, pos, quat)
    )
    full = observations.proprioception(state), observations.proprioception(moved)
    assert not torch.equal(*full)  # the full state depends on them


def test_onboard_observations_do_not_depend_on_heading_drift() -> None:
    state = random_state(torch.Generator().manual_seed(1))
    turned = Move(1.3, (0.0, 0.0)).state(state)
    rest = state.joint_pos, state.joint_vel, torch.zeros(5), torch.zeros_like(state.joint_pos)
    mount = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    both = [observations.onboard(*observations.imu(x, 1, mount), *rest) for x in (state, turned)]
    torch.testing.assert_close(*both)


# The policy ----------------------------------------------------------------------------------------------------------------


def policy(**changes) -> ActorCritic:
    config = ModelConfig(
        latent_dim=8, ff_size=8, num_layers=1, num_heads=2, mlp_units=[8], critic_units=[8],
        tokens=["proprioception", "history", "goal", "masked_poses"], critic_inputs=["proprioception", "goal", "poses"], **changes,
    )  # fmt: skip
    return ActorCritic(SHAPES, Servos.unknown(2), config)


def observed(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    obs = {name: torch.randn(4, *shape, generator=generator) for name, shape in SHAPES.items()}
    return obs | {name: obs[name] > 0.0 for name in ("pose_mask", "goal_mask")}


def test_the_actor_reads_onboard_sensors_and_the_critic_the_full_state() -> None:
    student = policy(sensors="onboard")
    torch.nn.init.normal_(student.actor[-1][-1].weight)
    obs, other = observed(0), observed(1)
    mean, _, value = student(obs)
    hidden = {name: other[name] for name in ("proprioception", "history", "poses")}
    blind_mean, _, blind_value = student(obs | hidden)
    assert torch.equal(mean, blind_mean) and not torch.isclose(value, blind_value).any()
    for name in ("onboard", "onboard_history", "onboard_poses"):
        sensed_mean, _, sensed_value = student(obs | {name: other[name]})
        assert torch.equal(value, sensed_value) and not torch.isclose(mean, sensed_mean).all()


def test_a_full_state_policy_reads_no_onboard_sensors() -> None:
    assert not any("onboard" in name for name in policy().obs_keys)
    assert set(policy(sensors="onboard").obs_keys) >= {"onboard", "onboard_history", "onboard_poses", "proprioception"}


def test_history_is_normalised_like_proprioception_and_masked_poses_are_zero() -> None:
    student = policy(sensors="onboard")
    obs = observed(0)
    for _ in range(3):
        student.update_normalizers(obs)
    same = obs | {"onboard_history": obs["onboard"].unsqueeze(1).expand(4, 2, 7)}
    present, past = (student.tokenizer(same, name)[0] for name in ("onboard", "onboard_history"))
    assert torch.equal(present.expand(4, 2, 7), past)
    poses, visible = student.tokenizer(obs, "onboard_masked_poses")
    assert visible is not None and torch.equal(visible, obs["pose_mask"].any(-1))
    assert (poses[..., :27].unflatten(2, (3, 9))[~obs["pose_mask"]] == 0.0).all()


def test_other_sensors_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.sensors: 'nose' is neither full_state nor onboard"):
        policy(sensors="nose")
