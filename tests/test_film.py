"""scripts/film.yaml describes a film that scripts/film.py can make: orders, clips, marks."""

from pathlib import Path

import film
import numpy as np
import pytest
import yaml

from protege.core.motions import load_clip
from protege.deploy.commands.orders import parse
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot

TOLD = yaml.safe_load((Path(__file__).parents[1] / "scripts" / "film.yaml").read_text())
SCENES = [(robot["robot"], film.scene_of(scene)) for robot in TOLD["robots"] for scene in robot["scenes"]]


def test_every_robot_has_a_scene_for_each_time():
    assert {len(robot["scenes"]) for robot in TOLD["robots"]} == {len(TOLD["seconds"])}
    assert sum(TOLD["seconds"]) < 15.0


@pytest.mark.parametrize(("name", "scene"), SCENES, ids=lambda x: getattr(x, "caption", x))
def test_orders_and_clips_of_a_scene_exist(name: str, scene: film.Scene):
    assert list(parse(scene.order, {})) == list(scene.order)
    assert bool(scene.order) != bool(scene.clip)  # one of the two
    if scene.clip:
        load_clip(scene.clip, get_robot(name))


def test_a_push_is_marked_by_an_arrow_from_behind_while_it_is_shown():
    scene = film.Scene("push", 0.0, {"steering": {"speed": 1.0}}, push=film.Push(at=1.0, weight=0.4))
    root = np.array([2.0, 3.0, 0.9])
    assert film.marks(scene, 0.9, root) == film.marks(scene, 1.6, root) == []
    [arrow] = film.marks(scene, 1.2, root)
    assert arrow.kind == mujoco.mjtGeom.mjGEOM_ARROW
    np.testing.assert_allclose(arrow.points, [[1.28, 3.0, 1.1], [1.88, 3.0, 1.1]])


def test_paths_and_goals_are_marked_on_the_ground():
    path = film.Scene("path", 0.0, {"path": {"points": [[1.0, 0.0], [2.0, 0.5], [3.0, 1.0]]}})
    lines = film.marks(path, 0.0, np.zeros(3))
    np.testing.assert_allclose([line.points for line in lines], [[[1, 0, 0], [2, 0.5, 0]], [[2, 0.5, 0], [3, 1, 0]]])
    [ball] = film.marks(film.Scene("goal", 0.0, {"goal": {"point": [2.0, 0.8]}}), 0.0, np.zeros(3))
    np.testing.assert_allclose(ball.points, [[2.0, 0.8, 0.0]])


def test_a_caption_changes_the_bottom_alone():
    picture = np.full((100, 200, 3), 200, dtype=np.uint8)
    changed = np.flatnonzero((film.captioned(picture, "run") != picture).any(axis=(1, 2)))
    assert len(changed) and changed.min() > 70
