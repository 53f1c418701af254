"""Masks over future poses: every mask shows something, and nothing outside its pattern."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.sim.robots import get_robot
from protege.sim.tasks.masks import MaskParams, MaskSampler

ROBOT = get_robot("smpl")
FRAMES = 4
VISIBLE = {
    "smpl": {
        "full": set(ROBOT.body_names),
        "head_hands": {"Head", "L_Hand", "R_Hand"},
        "root": {"Pelvis"},
        "hands": {"L_Hand", "R_Hand"},
        "feet": {"L_Ankle", "L_Toe", "R_Ankle", "R_Toe"},
    },
    "g1": {  # its head is a part of its torso
        "full": set(get_robot("g1").body_names),
        "head_hands": {"torso_link", "left_wrist_yaw_link", "right_wrist_yaw_link"},
        "root": {"pelvis"},
        "hands": {"left_wrist_yaw_link", "right_wrist_yaw_link"},
        "feet": {"left_ankle_roll_link", "right_ankle_roll_link"},
    },
}
GROUPS = list(VISIBLE["smpl"])

names = st.dictionaries(st.sampled_from([*GROUPS, "random", "inbetween"]), st.floats(0.1, 3.0), min_size=1)


def draw(n: int, seed: int = 0, robot: Robot = ROBOT, **params) -> torch.Tensor:
    sampler = MaskSampler(MaskParams(**params), robot, FRAMES, torch.device("cpu"))
    return sampler.sample(n, torch.Generator().manual_seed(seed))


@settings(max_examples=50)
@given(patterns=names, frame_keep=st.floats(0.0, 1.0), seed=st.integers(0, 2**31))
def test_every_mask_shows_something_and_its_frames_show_the_same_bodies(robot, patterns, frame_keep, seed):
    masks = draw(40, seed, robot, patterns=patterns, frame_keep=frame_keep)
    assert masks.shape == (40, FRAMES, robot.num_bodies) and masks.dtype == torch.bool
    assert masks.flatten(1).any(dim=1).all()
    bodies = masks.any(dim=1, keepdim=True)
    assert ((masks == bodies) | ~masks.any(dim=2, keepdim=True)).all()


@settings(max_examples=50)
@given(patterns=names.filter(lambda names: set(names) <= set(GROUPS)), seed=st.integers(0, 2**31))
def test_only_bodies_of_a_pattern_are_shown(robot, patterns, seed):
    allowed = [{robot.body_names.index(body) for body in VISIBLE[robot.name][name]} for name in patterns]
    for mask in draw(20, seed, robot, patterns=patterns):
        assert set(mask.any(dim=0).nonzero().squeeze(1).tolist()) in allowed


def test_patterns_come_as_often_as_their_weights_say():
    masks = draw(4000, patterns={"full": 3.0, "root": 1.0})
    assert masks.any(dim=1).all(dim=1).float().mean() == pytest.approx(0.75, abs=0.03)


def test_frames_are_kept_with_their_probability():
    """All four are dropped with probability 0.25^4; then one is shown."""
    shown = draw(4000, patterns={"full": 1.0}, frame_keep=0.75).any(dim=2).float()
    assert shown.mean() == pytest.approx(0.75 + 0.25**4 / 4, abs=0.02)
    assert draw(500, patterns={"full": 1.0}, frame_keep=0.0).any(dim=2).sum(dim=1).eq(1).all()
    assert draw(500, patterns={"full": 1.0}, frame_keep=1.0).all()


def test_in_between_shows_the_furthest_frame_whole():
    masks = draw(100, patterns={"inbetween": 1.0}, frame_keep=1.0)
    assert masks[:, -1].all() and not masks[:, :-1].any()


def test_random_patterns_are_sparse_and_dense():
    counts = draw(2000, patterns={"random": 1.0}).any(dim=1).sum(dim=1)
    assert counts.min() == 1 and counts.max() == ROBOT.num_bodies
    assert counts.float().mean() == pytest.approx(ROBOT.num_bodies / 2, abs=1.0)


def test_a_seed_gives_the_same_masks():
    assert torch.equal(draw(50, seed=3), draw(50, seed=3))
    assert not torch.equal(draw(50, seed=3), draw(50, seed=4))


def test_an_unknown_pattern_is_named():
    with pytest.raises(UserError, match=r"env\.masked_mimic_params\.patterns: unknown pattern 'knees'\. Known: full"):
        draw(1, patterns={"knees": 1.0})
