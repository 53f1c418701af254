"""The robots. To add one, put a model file and a `robot.yaml` into a folder, and name the folder in an entry point.

An installed package offers its robots by entry points of the group `protege.robots`: `name = "package.folder"`, where the folder
contains `robot.yaml`. This package lists its own robots in the same way. Any other robot is given by the path of its `robot.yaml`.
"""

import os
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from protege.core.errors import UserError
from protege.core.plugins import entry_points
from protege.core.robots.robot import Robot
from protege.core.runs import plain_yaml

from .model_file import examine_robot, read_robot
from .robot_file import read_robot_file

ROBOT_FILE = "robot.yaml"
MODEL_SUFFIXES = (".xml", ".mjcf", ".urdf", ".usd", ".usda", ".xacro")


@cache
def robot_names() -> tuple[str, ...]:
    """Names of all robots that installed packages offer."""
    return tuple(sorted({entry.name for entry in entry_points(group="protege.robots")}))


@cache
def default_robot() -> str:
    """The robot of commands that name none: the one whose file sets `default`.

    Raises:
        UserError: no installed robot sets it.
    """
    for name in robot_names():
        if read_robot_file(_installed_file(name)).robot.default:
            return name
    raise UserError("no robot is named, and none is the default", f"Add --robot NAME: {', '.join(robot_names())}")


def is_file(name: str) -> bool:
    """Whether a user's robot argument is the path of a robot file: it has its suffix, or contains a separator."""
    return name.endswith((".yaml", ".yml")) or any(separator in name for separator in {"/", os.sep})


def has_robot(name: str) -> bool:
    """Whether a robot with this name is installed, or a robot file exists at this path."""
    return Path(name).is_file() if is_file(name) else name in robot_names()


def get_robot(name: str) -> Robot:
    """The robot with this name, or of the robot file at this path. An installed robot is read once.

    Raises:
        UserError: it names the most similar robot, or all known ones; or what is wrong with the files.
    """
    robot = read_robot(_user_file(name)) if is_file(name) else _installed(name)
    _folders[robot] = (_user_file(name) if is_file(name) else _installed_file(name)).parent
    return robot


_folders: dict[Robot, Path] = {}
"""The folders that robots were read from."""


def folder_of(robot: Robot) -> Path | None:
    """The folder that a robot was read from, or that of the installed robot with its name; None if there is none."""
    return _folders.get(robot) or (_installed_file(robot.name).parent if robot.name in robot_names() else None)


def remember(robot: Robot, folder: Path | None) -> None:
    """Record the folder of a robot that another process has read."""
    if folder:
        _folders[robot] = folder


def file_beside(robot: Robot, name: str) -> Path | None:
    """The file with this name in a robot's folder, see `folder_of`; None if it does not exist."""
    folder = folder_of(robot)
    return folder / name if folder and (folder / name).is_file() else None


def examine(name: str) -> Robot:
    """Like `get_robot`, but reports all errors, for users who want to correct the files.

    Raises:
        UserError: all that is wrong with them, together.
    """
    if not is_file(name):
        return _examine_file(_installed_file(name)) if name in robot_names() else get_robot(name)
    return _examine_file(_user_file(name))


def _examine_file(file: Path) -> Robot:
    robot, errors = examine_robot(file)
    if robot is None:
        raise UserError.together(errors)
    return robot


@cache
def _installed(name: str) -> Robot:
    if name not in robot_names():
        near = get_close_matches(name, robot_names(), 1, 0.5)
        raise UserError(
            f"no robot {name!r}",
            f"Did you mean {near[0]!r}? Or give the path of a robot.yaml"
            if near
            else f"Known: {', '.join(robot_names())}; or give the path of a robot.yaml",
        )
    file = _installed_file(name)
    robot = read_robot(file)
    if robot.name != name:
        raise UserError(f"{file} calls the robot {robot.name}, its entry point {name}", "Give both one name")
    return robot


def training_settings(name: str) -> tuple[str, dict[str, Any]]:
    """A robot's own name, and the content of `training.yaml` in its folder: parts of a config, as in a preset.

    Args:
        name: a name, or the path of a robot file.

    Raises:
        UserError: the file is missing, or it or `training.yaml` cannot be read.
    """
    if is_file(name):
        file = _user_file(name)
        own = read_robot_file(file).robot.name
    elif name in robot_names():
        file, own = _installed_file(name), name
    else:
        return name, {}  # `get_robot` reports the error
    file = file.with_name("training.yaml")
    try:
        settings = plain_yaml.read_file(file) if file.is_file() else None
    except ValueError as error:
        raise UserError(f"cannot read {file} ({error})", "Write parts of a config, as a preset has them") from error
    if not isinstance(settings or {}, dict):
        raise UserError(f"{file} holds no parts", "Write e.g. env: {num_envs: 256}, one part per key")
    return own, settings or {}


def _user_file(name: str) -> Path:
    """The robot file at a path that the user gave; in a folder it is `robot.yaml`.

    Raises:
        UserError: it is a model file.
    """
    path = Path(name)
    if path.suffix.lower() in MODEL_SUFFIXES:
        raise UserError(f"{name} is a model, not a robot.yaml", "Write one beside it; docs/first_robot.md shows it")
    return path / ROBOT_FILE if path.is_dir() else path


def _installed_file(name: str) -> Path:
    """The `robot.yaml` of an installed robot."""
    [entry, *_] = entry_points(group="protege.robots", name=name)
    try:
        return Path(str(files(entry.value) / ROBOT_FILE))
    except ModuleNotFoundError as error:
        raise UserError(
            f"the robot {name} should be in {entry.value}, which is not there", "Install it again"
        ) from error
