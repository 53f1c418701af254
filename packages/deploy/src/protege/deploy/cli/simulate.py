"""`protege-deploy simulate`: a robot in MuJoCo that uses its manufacturer's messages."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ..errors import DeployError, needs
from .options import FiniteFloat
from .signals import interruptible

if TYPE_CHECKING:
    from ..unitree.simulated import SimulatedRobot


class ButtonPress(click.ParamType):
    """`start@5` or `L2+B@60`: buttons of the remote control, and the time at which they are pressed, s."""

    name = "press"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[frozenset[str], float]:
        from ..unitree.remote import BUTTONS

        names, _, moment = value.partition("@")
        try:
            pressed, seconds = frozenset(names.split("+")), float(moment)
        except ValueError:
            self.fail(f"{value!r} is not of the form start@5 or L2+B@60", param, ctx)
        if unknown := sorted(pressed - set(BUTTONS)):
            self.fail(f"there is no button {unknown[0]!r}; known: {', '.join(BUTTONS)}", param, ctx)
        return pressed, seconds


class Push(click.ParamType):
    """`600@10`: the force of a push, N, and when it begins, s."""

    name = "push"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        force, _, moment = value.partition("@")
        try:
            return float(force), float(moment)
        except ValueError:
            self.fail(f"{value!r} is not of the form 600@10", param, ctx)


@click.command()
@click.option("--robot", "robot_name", required=True, metavar="NAME", help="robot to simulate, such as g1")
@click.option(
    "--export",
    "folder",
    metavar="FOLDER",
    help="take the robot's model from an export; for machines without protege-sim",
)
@click.option("--interface", default="lo", show_default=True, help="network interface; lo stays on this machine")
@click.option("--domain", default=0, show_default=True, type=click.IntRange(0, 230), help="DDS domain")
@click.option(
    "--sdk",
    is_flag=True,
    help="speak through Unitree's own SDK, for unitree-sdk: and other programs that use it; domain 0",
)
@click.option("--seconds", type=FiniteFloat(0.1, 86400.0), help="duration; by default until Ctrl-C")
@click.option(
    "--gantry/--no-gantry",
    default=True,
    show_default=True,
    help="hang on a gantry until a policy moves the joints, or stand freely",
)
@click.option("--odometry/--no-odometry", default=True, show_default=True, help="send the root's position and velocity")
@click.option(
    "--push",
    "pushes",
    multiple=True,
    type=Push(),
    help="push the root forward for 0.2 s: 600@10 is 600 N after 10 s; repeatable",
)
@click.option(
    "--lift",
    "lifts",
    multiple=True,
    type=FiniteFloat(min=0.0),
    help="time after which the robot is hung up again, s; repeatable",
)
@click.option("--fifo", type=int, metavar="PRIORITY", help="real-time priority (SCHED_FIFO), 1 to 99")
@click.option(
    "--press",
    "presses",
    multiple=True,
    type=ButtonPress(),
    help="press buttons of the remote control: L2+B@60 after 60 s; repeatable",
)
def simulate(
    robot_name: str, folder: str | None, interface: str, domain: int, sdk: bool, seconds: float | None, gantry: bool,
    odometry: bool, pushes: tuple[tuple[float, float], ...], lifts: tuple[float, ...], fifo: int | None,
    presses: tuple[tuple[frozenset[str], float], ...],
) -> None:  # fmt: skip
    """Simulate a robot that speaks Unitree's messages over DDS.

    `run --robot unitree:lo` and other programs can control it.
    """
    from ..loop.pace import priority

    with ExitStack() as stack:
        stack.enter_context(priority(fifo))  # before the middleware's threads begin: they inherit it
        robot = _robot(robot_name, folder, interface, domain, gantry, sdk)
        robot.odometry = odometry
        stack.callback(robot.close)
        timed: list[tuple[float, Callable[[], None]]] = [
            *((moment, partial(_press, robot, buttons)) for buttons, moment in presses),
            *((moment, partial(_push, robot, force)) for force, moment in pushes),
            *((moment, robot.lift) for moment in lifts),
        ]
        for moment, act in timed:
            stack.callback(_later(moment, act).cancel)
        stack.enter_context(interruptible(robot.stop))
        click.echo(f"{robot_name} on {interface}, domain {domain}; Ctrl-C ends it")
        robot.run(seconds)
    late = "  ".join(f"{name} {value:.2f}" for name, value in robot.late.summary().items())
    lag = f"; {robot.lost:.1f} s behind real time" if robot.lost > 0.05 * robot.data.time else ""
    click.echo(f"steps        {robot.late.count}, late by {late} ms{lag}")
    click.echo(
        f"commands     {robot.commands}" + "".join(f", {n} dropped ({why})" for why, n in robot.bus.dropped.items())
    )
    x, y, height = robot.data.qpos[:3]
    where = f"root at {x:.2f}, {y:.2f} m and {height:.2f} m high, leans {robot.tilt:.2f} rad"
    click.echo(f"motion       {where}; {robot.falls} falls, walked {robot.walked:.1f} m")


def _press(robot: "SimulatedRobot", buttons: frozenset[str], seconds: float = 0.5) -> None:
    """Hold buttons for some seconds."""
    from ..unitree.remote import Remote

    robot.remote = Remote(buttons)
    _later(seconds, lambda: setattr(robot, "remote", Remote()))


def _push(robot: "SimulatedRobot", force: float, seconds: float = 0.2) -> None:
    """Push the root along the world's x for some seconds, N."""
    robot.push = np.array([force, 0.0, 0.0])
    _later(seconds, lambda: setattr(robot, "push", np.zeros(3)))


def _later(seconds: float, act: Callable[[], None]) -> threading.Timer:
    """Run `act` in a thread of its own after some seconds."""
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    return timer


def _robot(name: str, folder: str | None, interface: str, domain: int, gantry: bool, sdk: bool) -> "SimulatedRobot":
    """The robot of that name, with the model of its export or the installed one."""
    from ..unitree.bus import Bus
    from ..unitree.motors import motors_of
    from ..unitree.sdk import SdkBus
    from ..unitree.simulated import SimulatedRobot, load_model

    motors = motors_of(name)
    if folder is not None:
        from ..policy.metadata import ROBOT_FILE, load

        metadata, path = load(folder), Path(folder) / ROBOT_FILE
        if metadata.robot != name:
            raise DeployError(
                f"{folder} is an export for {metadata.robot}, not {name}", f"Take --robot {metadata.robot}"
            )
        if not path.is_file():
            raise DeployError(f"{path} does not exist", "Export where protege-sim is installed")
        xml = path.read_text(encoding="utf-8")
        pose = dict(zip(metadata.joint_names, metadata.default_joint_pos, strict=True))
    else:
        with needs("export"):
            from ..export.robot_model import robot_model
        xml, pose = robot_model(name)
    model = load_model(xml, motors)
    bus = SdkBus(name, interface) if sdk else Bus(interface, domain)
    return SimulatedRobot(model, motors, pose, bus=bus, gantry=gantry)
