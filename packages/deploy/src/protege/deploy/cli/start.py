"""Options for the start of a run and for the time after a fall, for every robot."""

from collections.abc import Callable
from typing import Any

import click

from ..errors import DeployError
from ..loop.start_up import HOLD_SECONDS, RAMP_STEPS, StartUp
from ..policy.metadata import Metadata
from .options import FiniteFloat

GO_BUTTON = "A"
"""The button of the robot's remote control that lets the policy begin."""

OPTIONS: list[Callable] = [
    click.option("--soft-start", type=click.IntRange(min=0), metavar="STEPS",
                 help="control steps in which the robot moves to the default pose before the policy begins; "
                      f"by default {RAMP_STEPS} on unitree, else 0"),
    click.option("--hold", default=HOLD_SECONDS, show_default=True, type=FiniteFloat(0.0, 3600.0),
                 help="how long the robot then holds that pose, s"),
    click.option("--begin", type=click.Choice(["now", "remote"]), default="now", show_default=True,
                 help="remote: damp until start is pressed on the robot's remote control; after the ramp hold the pose until "
                      "A is pressed"),
    click.option("--after-fall", type=click.Choice(["stay", "resume"]), default="stay", show_default=True,
                 help="stay: damp until the end; resume: start softly again after somebody has stood the robot up"),
]  # fmt: skip


def start_up(
    robot: Any, robot_name: str, metadata: Metadata, *, soft_start: int | None, hold: float, begin: str, after_fall: str
) -> StartUp | None:
    """The start-up before the policy's first step; None if there is none.

    Raises:
        DeployError: the robot has no remote control.
    """
    ramp = soft_start if soft_start is not None else RAMP_STEPS * robot_name.startswith("unitree")
    if not ramp:
        if begin == "remote" or after_fall == "resume":
            raise DeployError("without a soft start the policy begins at once", f"Add --soft-start {RAMP_STEPS}")
        return None
    waits: dict[str, Any] = {}
    if begin == "remote":
        if not hasattr(robot, "remote"):
            raise DeployError(f"{robot_name} has no remote control that is known here", "Take --begin now")
        waits = {"ready": lambda: "start" in robot.remote.buttons, "go": lambda: GO_BUTTON in robot.remote.buttons}
    resumes = after_fall == "resume"
    return StartUp(metadata.default_joint_pos, metadata.control_dt, ramp=ramp, hold=hold, resumes=resumes, **waits)
