"""The robots: to add one, put a model file and a `robot.yaml` into a folder, and name the folder as an entry point.

An installed package offers its robots by entry points of the group `protege.robots`: `name = "package.folder"`, where the folder
holds `robot.yaml`. This package's own are listed in the same way.
"""

from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.runs import plain_yaml

from .model_file import read_robot
from .robot_file import read_robot_file

FILE = "robot.yaml"


@cache
def robot_names() -> tuple[str, ...]:
    """Names of all robots that installed packages offer."""
    return tuple(sorted({entry.name for entry in entry_points(group="protege.robots")}))


@cache
def default_robot() -> str:
    """The robot of commands that name none: whose file says so.

    Raises:
        UserError: no installed robot is it.
    """
    for name in robot_names():
        if read_robot_file(_file(name)).robot.default:
            return name
    raise UserError("no robot is named, and none is the default", f"Add --robot NAME: {', '.join(robot_names())}")


@cache
def get_robot(name: str) -> Robot:
    """The robot of that name, read from its files once.

    Raises:
        UserError: naming the nearest known one, or all; or what is wrong with its files.
    """
    if name not in robot_names():
        near = get_close_matches(name, robot_names(), 1, 0.5)
        raise UserError(
            f"no robot {name!r}", f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(robot_names())}"
        )
    file = _file(name)
    robot = read_robot(file)
    if robot.name != name:
        raise UserError(f"{file} calls the robot {robot.name}, its entry point {name}", "Give both one name")
    return robot


def training_settings(name: str) -> dict[str, Any]:
    """What the file `training.yaml` in a robot's folder says: parts of a config, as a preset has them; nothing if it has none.

    Raises:
        UserError: no such robot, or the file cannot be read.
    """
    if name not in robot_names():
        return {}  # `get_robot` says so
    file = _file(name).with_name("training.yaml")
    try:
        return plain_yaml.read_file(file) or {} if file.is_file() else {}
    except ValueError as error:
        raise UserError(f"cannot read {file} ({error})", "Write parts of a config, as a preset has them") from error


def _file(name: str) -> Path:
    """The `robot.yaml` of an installed robot."""
    [entry, *_] = entry_points(group="protege.robots", name=name)
    try:
        return Path(str(files(entry.value) / FILE))
    except ModuleNotFoundError as error:
        raise UserError(
            f"the robot {name} should be in {entry.value}, which is not there", "Install it again"
        ) from error
