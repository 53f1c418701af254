"""Tables of a robot's motion, as people, spreadsheets and numpy write them."""

import io

import numpy as np
import pytest
from motion_files import FPS, FRAMES, G1, close, csv, locomujoco, read, robot_walk, swing, turn

from protege.core.errors import UserError
from protege.core.motions.file_kinds import SNIFFED
from protege.sim.motions.containers import may_be_motion
from protege.sim.motions.source import JointMotion


@pytest.mark.parametrize("head", [True, False])
def test_a_table_is_read_with_and_without_names(robot, head):
    pos, quat, joints, _ = robot_walk(robot)
    (motion,) = read(csv(robot, head=head), quat=None if head else "xyzw")
    assert isinstance(motion, JointMotion) and motion.joint_names == (robot.joint_names if head else ())
    np.testing.assert_allclose(motion.joint_pos, joints, atol=1e-12)
    np.testing.assert_allclose(motion.root_pos_w, pos, atol=1e-12)
    assert close(motion.root_quat_w, quat) and motion.fps == 30.0
    assert "does not say its rate" in motion.remarks[-1]
    assert read(csv(robot, head=head), quat=None if head else "xyzw", fps=120.0)[0].time[-1] == 60 / 120.0


def numbered(text: str, first: str = "{i}") -> str:
    return "\n".join(f"{first.format(i=i, t=i / 50.0)},{line}" for i, line in enumerate(text.splitlines()))


TABLES = {
    "tabs": lambda text: text.replace(",", "\t"),
    "blanks, as numpy writes them": lambda text: f"# x y z ...\n{text.replace(',', ' ')}",
    "semicolons": lambda text: text.replace(",", " ; "),
    "quotes": lambda text: "\n".join('"' + line.replace(",", '","') + '"' for line in text.splitlines()),
    "a comment": lambda text: f"# a walk, recorded, by, hand\n{text}",
    "a frame's number": numbered,
    "a frame's number and columns' numbers": lambda text: (
        f",{','.join(map(str, range(1 + text.split()[0].count(','))))}\n{numbered(text)}"
    ),
    "a frame's time": lambda text: numbered(text, "{t}"),
}  # fmt: skip


@pytest.mark.parametrize("edit", TABLES.values(), ids=TABLES.keys())
def test_a_table_is_read_as_spreadsheets_and_numpy_write_it(robot, edit):
    contents = edit(csv(robot).decode()).encode()
    (plain,), (motion,) = read(csv(robot), quat="xyzw"), read(contents, quat="xyzw")
    for name in ("root_pos_w", "root_quat_w", "joint_pos"):
        np.testing.assert_array_equal(getattr(motion, name), getattr(plain, name))
    assert may_be_motion(contents[:SNIFFED]) and motion.joint_names == ()
    assert motion.fps == pytest.approx(50.0 if edit is TABLES["a frame's time"] else 30.0)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_a_table_may_be_one_numpy_array(robot, kind):
    table, saved = np.loadtxt(io.StringIO(csv(robot).decode()), delimiter=",").astype(kind), io.BytesIO()
    np.save(saved, table)
    (plain,), (motion,) = read(csv(robot), quat="xyzw"), read(saved.getvalue(), quat="xyzw")
    assert may_be_motion(saved.getvalue()[:SNIFFED]) and "does not say its rate" in motion.remarks[-1]
    for name in ("root_pos_w", "root_quat_w", "joint_pos"):
        np.testing.assert_allclose(getattr(motion, name), getattr(plain, name), atol=1e-6 if kind == "f4" else 0.0)


def test_locomujocos_coordinates_are_read(robot):
    (motion,) = read(locomujoco(robot))
    pos, quat, joints, _ = robot_walk(robot)
    assert motion.joint_names == robot.joint_names and motion.fps == FPS and motion.name == "walk"
    np.testing.assert_array_equal(motion.joint_pos, joints)
    np.testing.assert_array_equal(motion.root_pos_w, pos)
    assert close(motion.root_quat_w, quat)


def test_locomujocos_split_points_separate_motions():
    one, two = read(locomujoco(G1, split_points=(0, 20, FRAMES)))
    assert (one.name, two.name) == ("walk_0", "walk_1") and (len(one.time), len(two.time)) == (20, FRAMES - 20)
    assert two.time[0] == 0.0 and (two.root_pos_w[0] == robot_walk(G1)[0][20]).all()
    for points in [(0, 20), (5, FRAMES), (0, 30, 20, FRAMES), (0, 20, 20, FRAMES), (0.0, float("nan"))]:
        with pytest.raises(UserError, match="split_points do not divide its 61 frames"):
            read(locomujoco(G1, split_points=points))


def test_other_arrays_are_no_tables():
    for array in (np.ones((20, 36)), np.ones((20, 7)), np.ones((20, 5, 3)), np.ones((20, 36), int), np.zeros((0, 36))):
        saved = io.BytesIO()
        np.save(saved, array)
        with pytest.raises(UserError, match="not in a known motion format"):
            read(saved.getvalue())


def test_names_of_columns_may_be_a_comment_in_front_of_the_table(robot):
    text = csv(robot, head=True).decode()
    for contents in (f"# {text}", "# " + text.replace(",", " ")):
        (motion,) = read(contents.encode())
        assert motion.joint_names == robot.joint_names and close(motion.root_quat_w, robot_walk(robot)[1])


def test_a_tables_quaternion_order_is_determined_if_the_other_would_lie():
    """A robot that heads along x, w nearly 1: read as xyzw it would stand on its head."""
    pos, quat, joints, _ = robot_walk(G1)
    quat = turn("z", swing())
    table = np.concatenate([pos, quat, joints], axis=1)
    contents = "\n".join(",".join(map(str, row)) for row in table).encode()
    (motion,) = read(contents)
    assert close(motion.root_quat_w, quat) and "taken as wxyz" in motion.remarks[0]
