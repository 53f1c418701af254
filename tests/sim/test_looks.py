"""Visual shapes: drawn instead of collision shapes, without effect on physics. Meshes of MuJoCo Menagerie if available."""

import logging
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from biped import write

from protege.core.robots.plain import first_difference
from protege.core.robots.robot import IDENTITY_QUAT, Look, Robot
from protege.sim import menagerie
from protege.sim.engine import mujoco
from protege.sim.menagerie import Mesh
from protege.sim.render import Renderer
from protege.sim.robot_check.default_pose import standing
from protege.sim.robots import get_robot
from protege.sim.robots.kinds import HIDDEN, VISUAL
from protege.sim.robots.looks import add_looks
from protege.sim.robots.mjcf import build_spec, robot_xml
from protege.sim.robots.model_file import read_robot

G1 = get_robot("g1")
CUBE = Look("box", (0.5, 0.5, 0.5), rgba=(1.0, 0.0, 0.0, 1.0))


def dressed(robot: Robot) -> Robot:
    """The robot with a cube of 1 m about each body that has no looks."""
    return replace(robot, bodies=tuple(replace(body, looks=body.looks or (CUBE,)) for body in robot.bodies))


def looking(robot: Robot, **meshes: tuple[Mesh, ...]) -> mujoco.MjModel:
    spec = build_spec(robot)
    add_looks(spec, robot, meshes)
    return spec.compile()


def geoms(model: mujoco.MjModel, body: str) -> np.ndarray:
    return np.flatnonzero(model.geom_bodyid == model.body(body).id)


def extent(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest coordinates of a shape that is not turned against its body."""
    center = model.geom_pos[geom] + model.geom_aabb[geom, :3]
    return center - model.geom_aabb[geom, 3:], center + model.geom_aabb[geom, 3:]


def test_visual_shapes_do_not_change_the_physics(robot):
    """Every number of the compiled model but those of shapes, and a fall onto the ground, to the bit."""
    dull, bright = build_spec(robot).compile(), looking(dressed(robot))
    assert bright.ngeom > dull.ngeom
    of_bodies = [
        name for name in dir(dull) if name.startswith(("body_", "jnt_", "dof_", "actuator_", "exclude_", "qpos", "M_"))
    ]
    of_shapes = ("body_geom", "body_bvh", "dof_length")  # by the last, robots fall asleep if that is switched on
    for name in (name for name in of_bodies if not name.startswith(of_shapes)):
        np.testing.assert_array_equal(getattr(bright, name), getattr(dull, name), err_msg=name)
    assert bright.stat.meaninertia == dull.stat.meaninertia
    ends = []
    for model in (dull, bright):
        data = mujoco.MjData(model)
        data.qpos[:] = standing(robot)
        data.ctrl[:] = robot.default_joint_pos
        mujoco.mj_step(model, data, round(1.0 / robot.physics_dt))
        assert data.ncon > 0
        ends.append(np.concatenate([data.qpos, data.qvel]))
    np.testing.assert_array_equal(*ends)


def test_what_has_looks_is_hidden_and_the_rest_is_shown():
    robot = get_robot("smpl")
    head, chest = robot.head, robot.groups.torso
    bodies = tuple(replace(body, looks=(CUBE,)) if body.name == head else body for body in robot.bodies)
    model = looking(replace(robot, bodies=bodies))
    solid, look = geoms(model, head)
    assert (model.geom_group[solid], model.geom_group[look]) == (HIDDEN, VISUAL)
    assert model.geom_contype[look] == model.geom_conaffinity[look] == 0 and model.geom_contype[solid] != 0
    assert (model.geom_group[geoms(model, chest)] == 0).all()
    np.testing.assert_array_equal(model.geom_size[look], CUBE.size)


def test_a_picture_shows_looks_or_on_request_what_collides(gl):
    robot = dressed(replace(G1, menagerie=""))
    red = []
    for shapes in (False, True):
        with Renderer(robot, 160, 120, shapes=shapes) as renderer:
            picture = renderer.frame(standing(robot)).astype(int)
        red.append(int(((picture[:, :, 0] > 100) & (picture[:, :, 1:].max(axis=2) < 60)).sum()))
    assert red[0] > 500 and red[1] == 0  # the cubes


def test_the_g1_is_as_large_as_published():
    """By the maker's links, to 1.5 cm: each foot 20.8 x 7.6 cm on the ground, the head 48.7 cm above the waist."""
    model = looking(G1)
    for side in ("left", "right"):
        spans = [extent(model, g) for g in geoms(model, f"{side}_ankle_roll_link") if model.geom_group[g] == VISUAL]
        low, high = np.min([x for x, _ in spans], axis=0), np.max([x for _, x in spans], axis=0)
        np.testing.assert_allclose((low, high), [(-0.066, -0.038, -0.035), (0.142, 0.038, 0.024)], atol=0.015)
        assert low[2] == pytest.approx(-0.035, abs=1e-6)  # where its spheres touch the ground
    tops = [extent(model, g)[1][2] for g in geoms(model, "torso_link") if model.geom_group[g] == VISUAL]
    assert max(tops) == pytest.approx(0.487, abs=0.015)


def test_the_g1_is_drawn_alike_on_both_sides():
    bodies = {body.name: body for body in G1.bodies}
    pairs = [(body, bodies[name.replace("left", "right")]) for name, body in bodies.items() if "left" in name]
    assert sum(bool(body.looks) for body, _ in pairs) == 13
    flip = np.array([1.0, -1.0, 1.0])
    for left, right in pairs:
        assert [(x.kind, x.size, x.rgba) for x in left.looks] == [(x.kind, x.size, x.rgba) for x in right.looks]
        for a, b in zip(left.looks, right.looks, strict=True):
            np.testing.assert_allclose(a.pos * flip, b.pos, atol=1e-9)


def test_mjcf_contains_visual_shapes_and_the_menagerie_name():
    model = mujoco.MjModel.from_xml_string(robot_xml(G1))
    assert sum(len(body.looks) for body in G1.bodies) == (model.geom_group == VISUAL).sum()
    assert bytes(model.text_data).rstrip(b"\0") == G1.menagerie.encode()


# Meshes -------------------------------------------------------------------------------------------------------------------

TETRAHEDRON = "0 0 0  .2 0 0  0 .2 0  0 0 .2"
STAND_IN = f"""<mujoco><asset><mesh name="t" vertex="{TETRAHEDRON}"/><material name="blue" rgba="0 0 1 1"/></asset>
<worldbody><body name="pelvis" pos="5 6 7" euler="0 0 90"><freejoint/><geom mass="1" size=".1" group="3"/>
<geom type="mesh" mesh="t" material="blue" pos=".1 .2 .3" euler="0 0 90" group="2" contype="0" conaffinity="0" mass="0"/>
<geom type="mesh" mesh="t" group="3" mass="0"/>
<body name="left_hip_pitch_link" pos="0 0.064452 -0.1027"><geom type="mesh" mesh="t" rgba="0 1 0 .5" mass="1"/></body>
<body name="right_hip_pitch_link" pos="0 -0.09 -0.1027"><geom type="mesh" mesh="t" mass="1"/></body>
<body name="tail"><geom type="mesh" mesh="t" mass="1"/></body></body></worldbody></mujoco>"""


@pytest.fixture
def root(monkeypatch, tmp_path):
    """A folder that replaces the Menagerie's download, with a model of a few bodies."""
    folder, _, entry = G1.menagerie.partition("/")
    (tmp_path / folder).mkdir()
    (tmp_path / folder / f"{entry}.xml").write_text(STAND_IN)
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    menagerie.load.cache_clear()
    yield tmp_path
    menagerie.load.cache_clear()


def offered(robot: Robot = G1) -> dict[str, tuple[Mesh, ...]]:
    return menagerie.meshes(robot.menagerie, build_spec(robot).compile(), robot.body_names)


def test_meshes_are_those_of_bodies_that_are_where_ours_are(root):
    found = offered()
    # The other hip is 2.5 cm off, and the tail belongs to no body.
    assert sorted(found) == ["left_hip_pitch_link", "pelvis"]
    [blue], [green] = found["pelvis"], found["left_hip_pitch_link"]
    assert blue.rgba == (0.0, 0.0, 1.0, 1.0) and green.rgba == (0.0, 1.0, 0.0, 0.5)
    turned = np.array([[0.1, 0.2, 0.3], [0.1, 0.4, 0.3], [-0.1, 0.2, 0.3], [0.1, 0.2, 0.5]])  # by 90° about z
    by_hand = sorted(map(tuple, turned.round(6)))
    np.testing.assert_allclose(sorted(map(tuple, blue.vertices.round(6))), by_hand, atol=1e-6)
    assert blue.faces.shape == (4, 3)


def test_meshes_are_drawn_instead_of_looks(root):
    model = looking(G1, **offered())
    solid, mesh = geoms(model, "pelvis")
    assert model.geom_type[mesh] == mujoco.mjtGeom.mjGEOM_MESH and model.geom_group[mesh] == VISUAL
    assert model.geom_group[solid] == HIDDEN
    assert model.body("pelvis").mass[0] == G1.bodies[0].inertia.mass
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[mesh])
    drawn = model.mesh_vert[:4].astype(float) @ turn.reshape(3, 3).T + model.geom_pos[mesh]
    [blue] = offered()["pelvis"]
    np.testing.assert_allclose(
        sorted(map(tuple, drawn.round(5))), sorted(map(tuple, blue.vertices.round(5))), atol=2e-5
    )
    assert len(geoms(model, "torso_link")) > 5  # has none there


def test_without_meshes_there_are_primitives(root, monkeypatch, caplog):
    assert offered(replace(G1, menagerie="")) == {}
    (file,) = root.rglob("*.xml")
    file.unlink()
    with caplog.at_level(logging.WARNING):
        assert offered() == {} == offered()
    assert caplog.messages == [m for m in caplog.messages if "primitives are drawn" in m] and len(caplog.messages) == 1
    menagerie.load.cache_clear()
    monkeypatch.setattr(menagerie, "PACKAGE", "not_installed_here")
    assert offered() == {} and len(caplog.messages) == 1


# The model file -----------------------------------------------------------------------------------------------------------


def test_a_viewer_does_not_wait_for_a_download(monkeypatch, tmp_path, caplog):
    """Nothing is in the package's cache, and the download takes longer than the viewer waits."""
    arrived = Event()
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(menagerie, "load", lambda name: arrived.wait(60.0))
    menagerie._download.cache_clear()
    assert menagerie.meshes(G1.menagerie, build_spec(G1).compile(), G1.body_names, wait=0.01) == {}
    assert "are being downloaded" in caplog.text
    arrived.set()


def test_looks_are_the_shapes_of_group_2_that_touch_nothing(tmp_path):
    box = '<geom type="box" size="0.06 0.12 0.1" pos="0 0 0.15"/>'
    touchless = 'contype="0" conaffinity="0"'
    more = f"""{box}
      <geom type="cylinder" size=".1 .2" quat="0 1 0 0" group="2" rgba=".1 .2 .3 1" {touchless}/>
      <geom type="ellipsoid" size=".1 .2 .3" pos="1 2 3" group="2" material="paint" {touchless}/>
      <geom size="1" {touchless}/><geom type="mesh" mesh="m" group="2" {touchless}/><geom size=".01" group="2"/>"""
    asset = f"""</worldbody><asset><material name="paint" rgba=".7 .8 .9 .5"/>
      <mesh name="m" vertex="{TETRAHEDRON}"/></asset>"""
    plain = read_robot(write(tmp_path / "plain"))
    robot = read_robot(write(tmp_path / "dressed", (box, more), ("</worldbody>", asset)))
    trunk = robot.bodies[0]
    assert trunk.looks == (
        Look("cylinder", (0.1, 0.2), quat=(0.0, 1.0, 0.0, 0.0), rgba=(0.1, 0.2, 0.3, 1.0)),
        Look("ellipsoid", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), IDENTITY_QUAT, (0.7, 0.8, 0.9, 0.5)),
    )
    assert [x.kind for x in trunk.geoms] == ["box", "sphere"]  # what touches is drawn as long as there are no looks
    assert replace(trunk, looks=(), geoms=trunk.geoms[:1]) == plain.bodies[0] and robot.bodies[1:] == plain.bodies[1:]
    assert (
        first_difference(plain, replace(plain, bodies=(replace(plain.bodies[0], looks=trunk.looks), *plain.bodies[1:])))
        == ""
    )
