"""Robots and command sources, by their names on the command line."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..commands.commander import Commander
from ..commands.motion import Kinematics
from ..errors import DeployError
from ..interface import CommandSource, RobotInterface
from ..network.endpoint import parse_address
from ..policy.metadata import ROBOT_FILE, Metadata
from ..policy.onnx_policy import OnnxPolicy

SECONDS_AFTER_SCRIPT = 10.0  # of a run, after the script's last order

UNITREE_KINDS = ("unitree", "unitree-sdk")
"""Kinds of robots that use Unitree's messages: through Cyclone DDS, and through Unitree's own SDK."""

LoadKinematics = Callable[[], Kinematics | None]
"""Loads forward kinematics, if MuJoCo is installed. Only motions need them, and MuJoCo takes an eighth of a run's start."""
OpenRobot = Callable[[str, Metadata, bool], tuple[RobotInterface, LoadKinematics]]
"""An export's folder and metadata, and whether to start at rest -> the robot, and a function that loads its kinematics."""


def find_robot(name: str, *, realtime: bool, key: bytes | None = None, fifo: int | None = None) -> OpenRobot:
    """A function that opens the named robot. Its packages are imported here, so that a missing one is an error now.

    Args:
        name: the value of `--robot`.
        realtime: whether the loop runs in real time.
        key: shared with a robot process.
        fifo: SCHED_FIFO priority of the thread that commands the robot.

    Raises:
        DeployError: the robot is unknown, or a package is missing.
    """
    kind, _, place = name.partition(":")
    if name == "mujoco":
        from ..robots.mujoco import MujocoRobot

        def simulate(folder: str, metadata: Metadata, standing: bool) -> tuple[RobotInterface, LoadKinematics]:
            robot = MujocoRobot(folder, standing=standing)
            return robot, lambda: robot.body_poses

        return simulate
    if kind not in ("udp", *UNITREE_KINDS):
        known = "Known: mujoco, udp:PORT, udp:HOST:PORT, unitree:INTERFACE[:DOMAIN], unitree-sdk:INTERFACE"
        raise DeployError(f"unknown robot {name!r}", known)
    if not realtime:
        raise DeployError("a robot process runs in real time", "Leave out --fast")
    if kind in UNITREE_KINDS:
        interface, _, domain = place.partition(":")
        if not interface or not (domain or "0").isdecimal():
            raise DeployError(
                f"--robot {name} is no address",
                "Give unitree:INTERFACE, unitree:INTERFACE:DOMAIN or unitree-sdk:INTERFACE",
            )

        def join(folder: str, metadata: Metadata, standing: bool) -> tuple[RobotInterface, LoadKinematics]:
            from ..unitree.robot import UnitreeRobot

            robot = UnitreeRobot(
                interface, metadata, domain=int(domain or "0"), fifo=fifo, sdk=kind != UNITREE_KINDS[0]
            )
            return robot, partial(_kinematics, folder)

        return join
    listening = parse_address(place, "--robot")

    def listen(folder: str, metadata: Metadata, standing: bool) -> tuple[RobotInterface, LoadKinematics]:
        from ..robots.udp import UdpRobot

        return UdpRobot(listening, metadata, key=key), partial(_kinematics, folder)

    return listen


def _kinematics(folder: str) -> Kinematics | None:
    """Forward kinematics of an export's robot, if MuJoCo is installed."""
    if find_spec("mujoco") is None or not (Path(folder) / ROBOT_FILE).is_file():
        return None
    from ..robots.mujoco import MujocoRobot

    return MujocoRobot(folder).body_poses


def open_commands(
    source: str,
    policy: OnnxPolicy,
    kinematics: Kinematics | None,
    seconds: float | None,
    stack: ExitStack,
    *,
    task: str | None,
    motion_file: str | None,
    key: bytes | None = None,
    **_others: Any,
) -> tuple[CommandSource, float | None]:
    """The command source, and the run's duration in s (None: until it is stopped). The stack closes what is opened here.

    Raises:
        DeployError: the source is unknown or cannot be opened.
    """
    kind, _, place = source.partition(":")
    by_hand = kind in ("keyboard", "gamepad")
    if task or (motion_file and not by_hand):
        raise DeployError(f"--commands {kind} does not go with --task or --motion-file", "Give one of them")
    commander = Commander(policy, kinematics)
    if by_hand and motion_file:
        commander.prepare({"motion": {"clip": motion_file}})  # so that errors in it are reported now
    if kind == "script" and place:
        from ..commands.sources.script import Script

        script = Script(place, commander)
        return script, seconds or script.duration + SECONDS_AFTER_SCRIPT
    if kind == "udp":
        from ..commands.sources.udp import UdpCommands

        stack.enter_context(UdpCommands(parse_address(place, "--commands"), commander, key))
    elif kind == "keyboard":
        from ..commands.sources.keyboard import keyboard

        stack.enter_context(keyboard(commander, motion_file))
    elif kind == "gamepad":
        from ..commands.sources.gamepad import DEFAULT_DEVICE, gamepad

        stack.enter_context(gamepad(commander, motion_file, place or DEFAULT_DEVICE))
    else:
        known = "Known: script:FILE, udp:[HOST:]PORT, keyboard, gamepad[:DEVICE]"
        raise DeployError(f"unknown source of commands {source!r}", known)
    return commander, seconds
