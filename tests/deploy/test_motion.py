"""Clips as commands: read, placed and followed without torch, as the training's own code does it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tiny_runs import train

from protege.core.motions import MotionLibrary, clip_dtype, save_clip
from protege.core.motions import load_clip as core_clip
from protege.core.motions.contact import contact_points, leg_length
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.deploy.cli.main import main
from protege.deploy.commands.motion import MotionCommand
from protege.deploy.errors import DeployError
from protege.deploy.export.export import export
from protege.deploy.geometry import Pose2D
from protege.deploy.interface import RobotReading
from protege.deploy.motions.clips import Clip, load_clip
from protege.deploy.motions.poses import Poses
from protege.deploy.policy.metadata import Metadata
from protege.deploy.policy.metadata import load as load_metadata
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")
WALK = "data/motions/smpl_humanoid_walk.npy"
MOTIONS = ["walk", "run", "jump"]


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="session")
def tracker(tiny_tracker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny tracker, exported."""
    return export(tiny_tracker, tmp_path_factory.mktemp("deploy") / "tracker")


@pytest.fixture(scope="session")
def exports(tiny_tracker: Path, tracker: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tracker, every teacher and MaskedMimic, by kind."""
    folder, start = tmp_path_factory.mktemp("runs"), f"agent.expert_model_path={tiny_tracker}"
    runs = {
        kind: train(kind, folder, kind, start, "run.max_iterations=1", package="teachers")
        for kind in ("path_follower", "goal_directed", "steering")
    }
    runs["masked_mimic"] = train("masked_mimic/path_follower", folder, "mimic", start, "run.max_iterations=1")
    return {"tracker": tracker, **{kind: export(run, folder / f"{kind}_onnx") for kind, run in runs.items()}}


@pytest.fixture(scope="session")
def metadata(tracker: Path) -> Metadata:
    return load_metadata(tracker)


def library(name: str, robot: Robot) -> MotionLibrary:
    return MotionLibrary([core_clip(f"{robot.name}_humanoid_{name}.npy", robot)], robot, "cpu")


# Clips -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MOTIONS)
def test_a_clip_is_interpolated_as_in_the_training(name: str, robot: Robot, each_exported: Path) -> None:
    body = MujocoRobot(each_exported)
    clip = load_clip(f"{robot.name}_humanoid_{name}.npy", body.metadata, body.body_poses)
    theirs = library(name, robot)
    assert clip.warnings == ()
    assert clip.name == f"{robot.name}_humanoid_{name}" and clip.duration == pytest.approx(
        float(theirs.durations[0]), abs=0.02
    )
    time = np.arange(0.0, float(theirs.durations[0]), robot.control_dt)
    poses = clip.at(time)
    expected = theirs.frames(torch.zeros(len(time), dtype=torch.long), torch.from_numpy(time).float())
    body_pos, body_quat = body.body_poses(poses)
    np.testing.assert_allclose(poses.joint_pos, expected.joint_pos.numpy(), atol=1e-5)
    np.testing.assert_allclose(body_pos, expected.body_pos_w.numpy(), atol=2e-5)
    same = np.abs((body_quat * expected.body_quat_w.numpy()).sum(-1))
    np.testing.assert_allclose(same, 1.0, atol=1e-6)


@pytest.mark.parametrize("name", MOTIONS)
def test_a_clips_start_is_the_trainings(name: str, robot: Robot, each_exported: Path) -> None:
    start = load_clip(f"{robot.name}_humanoid_{name}.npy", load_metadata(each_exported)).start()
    expected = library(name, robot).frames(torch.zeros(1, dtype=torch.long), torch.zeros(1))[0]
    for field, values in vars(start).items():
        np.testing.assert_allclose(values, getattr(expected, field).numpy(), atol=2e-4, err_msg=field)


def test_poses_are_clamped_to_the_clip(metadata: Metadata) -> None:
    clip = load_clip(WALK, metadata)
    ends = clip.at(np.array([-1.0, 99.0]))
    for field, values in zip(Poses._fields, ends, strict=True):
        np.testing.assert_allclose(values, getattr(clip.frames, field)[[0, -1]], atol=1e-12)


def test_a_clip_is_placed_where_the_robot_is(metadata: Metadata) -> None:
    clip = load_clip("smpl_humanoid_jump.npy", metadata)
    placed = clip.placed(Pose2D(np.array([3.0, -1.0]), 0.7))
    first = RobotReading(*(x[0] for x in placed.frames[:2]), np.zeros(3), np.zeros(3), np.zeros(69), np.zeros(69))
    assert first.yaw == pytest.approx(0.7)
    np.testing.assert_allclose(first.root_pos_w, [3.0, -1.0, clip.frames.root_pos_w[0, 2]])
    # Relative to the root's heading everything is as it was.
    again = placed.placed(Pose2D(np.zeros(2), 0.0))
    origin = clip.placed(Pose2D(np.zeros(2), 0.0))
    for a, b in zip(again.frames, origin.frames, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(placed.frames.root_pos_w, axis=0), axis=1),
        np.linalg.norm(np.diff(clip.frames.root_pos_w, axis=0), axis=1),
    )


def frames(count: int = 3, joints: int = 69) -> np.ndarray:
    data = np.zeros(count, clip_dtype(joints))
    data["time"], data["root_quat_w"][:, 0] = np.arange(count), 1.0
    return data


def broken(field: str, frame: int, value: float) -> np.ndarray:
    data = frames()
    data[field][frame] = value
    return data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (frames(1), "has 1 frame. A clip needs at least two"),
        (frames(joints=19), "has 19 joints, smpl has 69. Retarget it to smpl"),
        (broken("joint_pos", 1, np.nan), "joint_pos of frame 1 is not a finite number"),
        (broken("time", 2, 1.0), "time does not rise at frame 2"),
        (broken("root_quat_w", 2, 0.3), "root_quat_w of frame 2 is not of unit length"),
        (np.zeros((3, 4)), "is an array of float64 of shape (3, 4), not a clip with the fields time, root_pos_w"),
        (np.array([{"pickled": 1}], dtype=object), "is a .npy file of pickled Python objects"),
        (b"\x93NUMPY\x01\x00", "is a .npy file that is damaged or cut short"),
        (b"", "is empty"),
    ],
)
def test_invalid_clips_are_reported(content: np.ndarray | bytes, message: str, tracker: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    done = call("run", tracker, "--task", "motion", "--motion-file", path)
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert done.output.startswith(f"error: {path}") and message in done.output


def implausible(field: str, change: float) -> np.ndarray:
    """A second of standing, with a field changed in all frames."""
    data = frames(31)
    data["time"], data["root_pos_w"][:, 2] = np.arange(31) / 30.0, 0.951
    data[field] += change
    return data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (implausible("joint_pos", 90.0), "past its limit (degrees?)"),
        (implausible("root_pos_w", 95.0), "lengths of a leg (centimetres?)"),
        (implausible("root_pos_w", -0.951), "root_pos_w of frame 0: the robot is 0.95 m in the floor"),
    ],
)
def test_impossible_motions_are_refused(content: np.ndarray, message: str, tracker: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.npy"
    np.save(path, content)
    done = call("run", tracker, "--task", "motion", "--motion-file", path)
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert done.output.startswith(f"error: {path}") and message in done.output, done.output


def test_unlikely_motions_cause_one_warning(tracker: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "low.npy", implausible("root_pos_w", 0.3))
    done = call("run", tracker, "--motion-file", tmp_path / "low.npy", "--fast", "--seconds", 0.1)
    assert done.exit_code == 0 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("warning: low: root_pos_w of frame 0: the robot hangs in the air for 1.00 s")


def test_joints_are_reordered_by_name(tracker: Path, metadata: Metadata, tmp_path: Path) -> None:
    walk, turned = core_clip(WALK, ROBOT), ROBOT.joint_names[::-1]
    save_clip(tmp_path / "t.npy", replace(walk, joint_pos=walk.joint_pos[:, ::-1], joint_names=turned, robot="smpl"))
    clip = load_clip(tmp_path / "t.npy", metadata, MujocoRobot(tracker).body_poses)
    np.testing.assert_array_equal(clip.frames.joint_pos, walk.joint_pos)
    save_clip(tmp_path / "g1.npy", replace(walk, robot="g1"))
    with pytest.raises(DeployError, match=r"g1\.npy is a clip of the robot g1, not of smpl"):
        load_clip(tmp_path / "g1.npy", metadata)


def test_a_missing_clip_is_reported(metadata: Metadata) -> None:
    with pytest.raises(DeployError, match=r"no clip at nowhere\.npy.*a \.npy file"):
        load_clip("nowhere.npy", metadata)


# Commands ----------------------------------------------------------------------------------------------------------------


def test_the_command_is_the_trainings_reference(tracker: Path) -> None:
    metadata = load_metadata(tracker)
    clip, theirs = load_clip(WALK, metadata), library("walk", ROBOT)
    command = MotionCommand(clip, MujocoRobot(tracker).body_poses, metadata)
    here = MujocoRobot(tracker).read()
    assert metadata.future_frames == [1, 2, 4, 8]
    for step in (0, 7, 100):
        time = torch.tensor([(step + ahead) / 30.0 for ahead in metadata.future_frames])
        expected = theirs.frames(torch.zeros(4, dtype=torch.long), time)
        commanded = command(step / 30.0, here)
        assert commanded.target_body_pos_w is not None and commanded.reference_joint_pos is not None
        np.testing.assert_allclose(commanded.target_body_pos_w, expected.body_pos_w.numpy(), atol=2e-5)
        np.testing.assert_allclose(commanded.reference_joint_pos, expected.joint_pos[0].numpy(), atol=1e-5)
        assert commanded.reference_joint_vel is not None
        np.testing.assert_allclose(commanded.reference_joint_vel, expected.joint_vel[0].numpy(), atol=2e-3)
        assert commanded.pose_mask is None and not commanded.inputs
    after, last = command(99.0, here), clip.at(np.array([command.last / 30.0])).joint_pos[0]
    np.testing.assert_allclose(after.reference_joint_pos, last)  # pyright: ignore[reportArgumentType, reportCallIssue]


def sliding(speed: float, seconds: float = 3.0) -> Clip:
    """A stiff body that slides to the left."""
    time = np.linspace(0.0, seconds, 91)
    pos = np.stack([0.0 * time, speed * time, 0.0 * time + 0.9], axis=1)
    return Clip("slide", time, Poses(pos, np.tile([1.0, 0.0, 0.0, 0.0], (91, 1)), np.zeros((91, 69))), 60.0)


def test_teachers_are_commanded_along_the_clip(exports: dict[str, Path]) -> None:
    metadata, robot = load_metadata(exports["path_follower"]), MujocoRobot(exports["path_follower"])
    command = MotionCommand(sliding(0.8), robot.body_poses, metadata, ["path", "goal", "steering"])
    commanded = command(1.0, robot.read())
    assert (
        [*commanded.inputs] == ["path", "goal", "steering"]
        and commanded.path_w is not None
        and commanded.steering_direction_w is not None
    )
    np.testing.assert_allclose(commanded.path_w[:3], [[0.0, 1.2], [0.0, 1.6], [0.0, 2.0]], atol=1e-9)
    np.testing.assert_allclose(commanded.path_w[-1], [0.0, 2.4], atol=1e-9)
    np.testing.assert_allclose(commanded.goal_w, [0.0, 2.4], atol=1e-9)  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert commanded.goal_time_left == pytest.approx(2.0) and commanded.steering_speed == pytest.approx(0.8)
    np.testing.assert_allclose(commanded.steering_direction_w, [0.0, 1.0], atol=1e-9)
    still = MotionCommand(sliding(0.0), robot.body_poses, metadata, ["steering"])(2.9, robot.read())
    assert still.steering_speed == 0.0 and still.steering_direction_w is not None
    np.testing.assert_allclose(np.linalg.norm(still.steering_direction_w), 1.0)


def test_the_error_by_hand(tracker: Path) -> None:
    robot, metadata = MujocoRobot(tracker), load_metadata(tracker)
    clip = sliding(0.6)
    command, time = MotionCommand(clip, robot.body_poses, metadata), np.array([0.0, 1.0, 2.0])
    bodies, _ = robot.body_poses(clip.at(time))
    assert command.errors(time, bodies[:, 0], bodies) == pytest.approx({"cartesian_err": 0.0, "cartesian_err_max": 0.0})
    bodies[1, :, 2] += 0.3  # all bodies
    bodies[2, 0, 0] += 0.24  # one of 24
    expected = {"cartesian_err": (0.3 + 0.01) / 3.0, "cartesian_err_max": 0.3}
    assert command.errors(time, bodies[:, 0], bodies) == pytest.approx(expected)


def test_kinematics_do_not_move_the_robot(robot: Robot, each_exported: Path) -> None:
    body = MujocoRobot(each_exported)
    before = body.data.qpos.copy()
    poses = load_clip(f"{robot.name}_humanoid_jump.npy", body.metadata, body.body_poses).at(np.array([1.0, 2.0]))
    pos, quat = body.body_poses(poses)
    np.testing.assert_array_equal(body.data.qpos, before)
    tensors = (torch.from_numpy(x).double() for x in poses)
    expected = Kinematics(robot).double()(*tensors)
    np.testing.assert_allclose(pos, expected[0].numpy(), atol=1e-5)
    assert pos.shape == (2, robot.num_bodies, 3) and quat.shape == (2, robot.num_bodies, 4)
    # What is below each body too, as the training's side finds it.
    np.testing.assert_allclose(body.body_poses.contact_points(poses), contact_points(robot, *poses), atol=1e-5)
    assert body.body_poses.leg_length == pytest.approx(leg_length(robot), abs=1e-5)


# The command line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tracker", "path_follower", "goal_directed", "steering", "masked_mimic"])
def test_every_policy_with_poses_runs(kind: str, exports: dict[str, Path], tmp_path: Path) -> None:
    report, record = tmp_path / "report.json", tmp_path / "states.npz"
    words = ["--motion-file", WALK, "--fast", "--seconds", 0.5, "--report", report, "--record", record]
    done = call("run", exports[kind], *words)
    assert done.exit_code == 0 and "cartesian_err" in done.output, done.output
    result = json.loads(report.read_text())
    assert result["loop"]["steps"] == 15 and set(result["errors"]) == {"cartesian_err", "cartesian_err_max"}
    # It starts in the clip, and the reference's joint angles alone keep it near for half a second.
    assert result["errors"]["cartesian_err"] < 0.15
    with np.load(record, allow_pickle=False) as states:
        column = {"path_follower": 0, "goal_directed": 1, "steering": 2}.get(kind)
        if column is not None:
            assert states["command_mask"].tolist() == [[k == column for k in range(3)]] * 15
        if kind == "masked_mimic":
            assert states["pose_mask"].all()
        np.testing.assert_allclose(states["root_pos_w"][0, :2], 0.0, atol=1e-6)


def test_the_student_runs_with_poses_too(exported: Path, tmp_path: Path) -> None:
    record = tmp_path / "states.npz"
    words = ["--motion-file", WALK, "--fast", "--seconds", 0.3, "--standing", "--record", record]
    done = call("run", exported, "--task", "motion", *words)
    assert done.exit_code == 0 and "cartesian_err" in done.output
    with np.load(record, allow_pickle=False) as states:
        assert states["pose_mask"].all() and not states["command_mask"].any()
        np.testing.assert_allclose(states["joint_pos"][0], load_metadata(exported).default_joint_pos, atol=1e-6)


def test_a_motion_ends_with_its_clip(tracker: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.npy"
    data = np.zeros(31, clip_dtype(69))
    data["time"], data["root_pos_w"][:, 2], data["root_quat_w"][:, 0] = np.linspace(5.0, 5.5, 31), 0.93, 1.0
    np.save(path, data)
    done = call("run", tracker, "--motion-file", path, "--fast")
    assert done.exit_code == 0 and "of 15 missed" in done.output


def test_options_that_exclude_each_other_are_reported(exports: dict[str, Path], exported: Path) -> None:
    for folder, words, message in [
        (exports["tracker"], [], "motion needs a clip. Add --motion-file"),
        (exports["masked_mimic"], [], "motion needs a clip. Add --motion-file"),
        (exports["tracker"], ["--task", "path"], "this policy takes no path. It takes motion"),
        (exports["path_follower"], ["--task", "path"], "a path only together with poses. Add --task motion"),
        (exports["steering"], ["--task", "goal"], "this policy takes no goal. It takes motion"),
        (exported, ["--task", "motion"], "motion needs a clip"),
        (exported, ["--motion-file", "elsewhere/smpl_humanoid_walk.npy"], "no clip at elsewhere"),
        (exported, ["--task", "goal", "--motion-file", WALK], "--motion-file does not go with --task goal"),
    ]:
        done = call("run", folder, "--fast", *words)
        assert done.exit_code == 2 and done.output.count("\n") == 1 and message in done.output, done.output


def test_shipped_clips_are_found_without_torch(tracker: Path) -> None:
    program = """
import sys
from protege.deploy.cli.main import main
main(["run", sys.argv[1], "--motion-file", "smpl_humanoid_walk.npy", "--fast", "--seconds", "0.2"], standalone_mode=False)
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "onnx", "onnxscript"}))
print([name for name in sys.modules if name.startswith("protege.") and not name.startswith("protege.deploy")])
"""
    done = subprocess.run([sys.executable, "-c", program, str(tracker)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]


def test_needs_poses(exports: dict[str, Path], exported: Path) -> None:
    assert {kind for kind, folder in exports.items() if not OnnxPolicy(folder).needs_poses} == {"masked_mimic"}
    assert not OnnxPolicy(exported).needs_poses
