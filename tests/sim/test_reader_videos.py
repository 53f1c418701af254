"""Motions that were estimated from videos: their worlds have y up, and most have no frame rate."""

import numpy as np
import pytest
from motion_files import estimated, read, smpl_walk

from protege.core.errors import UserError
from protege.sim.motions.source import SkeletonMotion


@pytest.mark.parametrize(("project", "rate"), [("aist", 60.0), ("gvhmr", 30.0), ("wham", 25.0)])
def test_the_world_is_turned_upright(project: str, rate: float) -> None:
    pos, rotations = smpl_walk()
    (motion,) = read(estimated(project), fps=None if project != "wham" else rate)
    assert isinstance(motion, SkeletonMotion) and motion.fps == rate
    np.testing.assert_allclose(motion.root_pos_w, pos, atol=1e-9)
    used = slice(None) if project != "gvhmr" else [i for i, x in enumerate(motion.skeleton.names) if "Hand" not in x]
    same = np.abs((motion.rotations * rotations).sum(-1))[:, used]
    np.testing.assert_allclose(same, 1.0, atol=1e-9)


def test_each_person_is_a_motion_of_its_own() -> None:
    motions = read(estimated("wham", persons=2), fps=30.0)
    assert [motion.name for motion in motions] == ["walk_0", "walk_1"]


def test_wham_needs_the_rate_of_its_video() -> None:
    with pytest.raises(
        UserError, match=r"^walk\.x does not contain its frame rate\. Give its frames per second: --fps N$"
    ):
        read(estimated("wham"))


def test_a_given_axis_is_obeyed() -> None:
    (motion,) = read(estimated("aist"), up="z")
    np.testing.assert_allclose(motion.root_pos_w[:, 1], smpl_walk()[0][:, 2], atol=1e-9)
