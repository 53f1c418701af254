"""Robots in checkpoints: restored completely, and compared with the robot that a policy will control."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from small_robots import trees
from toy_env import ToyEnv, toy_robot

from protege.core.errors import UserError
from protege.core.learning.policy import ModelConfig
from protege.core.robots.plain import first_difference, from_plain, to_plain
from protege.core.robots.robot import Safety
from protege.core.runs.checkpoint import DIGEST, MISSING_FIELDS, Checkpoint, load, save, save_release
from protege.core.runs.checkpoint_checks import digest
from protege.core.runs.load_policy import load_to_act, make_actor_critic
from protege.sim.robots import get_robot, robot_names

TOY = toy_robot()


@pytest.mark.parametrize("name", robot_names())
def test_a_shipped_robot_is_restored_from_plain_data(name):
    robot = get_robot(name)
    assert from_plain(to_plain(robot)) == robot
    assert from_plain(json.loads(json.dumps(to_plain(robot)))) == robot


@settings(max_examples=20)
@given(trees())
def test_any_robot_is_restored_from_plain_data(robot):
    assert from_plain(to_plain(robot)) == robot


def test_new_fields_of_a_robot_take_their_defaults():
    plain = to_plain(TOY)
    for joint in plain["joints"]:
        del joint["frictionloss"]
    del plain["solver"], plain["safety"]
    for geom in [geom for body in plain["bodies"] for geom in body["geoms"]]:
        del geom["friction"], geom["condim"]
    assert from_plain(plain) == TOY


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("name",), 3, "robot.name is 3"),
        (("joints", 1, "range"), [1.0], r"robot.joints\[1\].range is not a list of the right length"),
        (("joints", 0, "damping"), float("nan"), r"robot.joints\[0\].damping is nan"),
        (("joints", 0, "damping"), True, "damping is True"),
        (("joints", 0, "spring"), 1.0, r"robot.joints\[0\] is no joint"),
        (("bodies", 0, "geoms"), [{"kind": "cone", "size": [1.0]}], "kind is 'cone'"),
        (("bodies", 0, "geoms"), [{"kind": "box"}], r"geoms\[0\] lacks a field"),
        (("bodies", 2, "parent"), "b9", r"robot.bodies\[2\] does not follow its parent"),
        (("default_joint_pos",), [0.0], "not one number a joint"),
        (("groups", "torso"), "b9", "robot has no body 'b9'"),
        (("groups",), [], "robot.groups is no groups"),
    ],
)
def test_invalid_robots_are_refused(path, value, problem):
    plain: Any = to_plain(TOY)
    inner = plain
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=problem):
        from_plain(plain)


def changed(**facts: Any):
    """The toy with another last joint."""
    return replace(TOY, joints=(*TOY.joints[:-1], replace(TOY.joints[-1], **facts)))


def test_the_first_difference_is_named():
    assert first_difference(TOY, TOY) == ""
    assert first_difference(TOY, changed(stiffness=80.0)) == "joint j2 has stiffness 80.0, not 1.0"
    assert first_difference(TOY, changed(name="knee")) == "joint j2 is gone"
    assert first_difference(TOY, replace(TOY, control_dt=0.02)) == f"the robot has control_dt 0.02, not {1 / 30}"
    heavier = replace(TOY.bodies[1], inertia=replace(TOY.bodies[1].inertia, mass=2.0))
    assert (
        first_difference(TOY, replace(TOY, bodies=(TOY.bodies[0], heavier, TOY.bodies[2])))
        == "body b1 has other inertia"
    )


def test_fields_that_no_policy_depends_on_are_not_compared():
    other = replace(
        changed(log_std=-1.0), physics_dt=0.001, source="elsewhere", fallen_root=0.5, safety=Safety(tilt=None)
    )
    assert first_difference(TOY, other) == ""
    assert first_difference(TOY, other, "physics_dt") == f"the robot has physics_dt 0.001, not {1 / 120}"


@pytest.fixture
def checkpoint() -> Checkpoint:
    env, config = ToyEnv(2), ModelConfig(latent_dim=8, ff_size=8, num_layers=1, mlp_units=[8], critic_units=[8])
    shapes = {name: list(shape) for name, shape in env.obs_shapes.items()}
    state = make_actor_critic(env, config).state_dict()
    names, description = list(TOY.joint_names), to_plain(TOY)
    return Checkpoint("tracker", {"model": vars(config)}, "toy", names, shapes, state, description=description)


@pytest.mark.parametrize("release", [False, True])
def test_a_policy_refuses_another_robot(checkpoint, tmp_path, release):
    save_release(tmp_path, checkpoint) if release else save(tmp_path / "last.ckpt", checkpoint)
    assert load(tmp_path).described_robot() == TOY
    env = ToyEnv(2)
    assert load_to_act(tmp_path, env, "key", ["tracker"]).robot == "toy"
    env.robot = changed(stiffness=80.0)
    with pytest.raises(
        UserError, match=r"key: .* another toy than there is now: joint j2 has stiffness 80\.0, not 1\.0\. "
    ):
        load_to_act(tmp_path, env, "key", ["tracker"])


def test_a_checkpoint_of_an_earlier_version_has_only_the_robots_name(checkpoint, tmp_path):
    """Format 1 has no description at all."""
    data = {name: x for name, x in vars(checkpoint).items() if name not in MISSING_FIELDS[1]}
    torch.save({"format": 1, DIGEST: digest(data), **data}, tmp_path / "last.ckpt")
    assert load(tmp_path).described_robot() is None
    env = ToyEnv(2)
    env.robot = changed(stiffness=80.0)
    assert load_to_act(tmp_path, env, "key", ["tracker"]).robot == "toy"
