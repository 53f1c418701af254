"""Which motor of Unitree's messages is which joint: a file a robot in `robots/`. Joints are found by name, never by number."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import yaml

from ..errors import DeployError
from ..interface import Array


@dataclass(frozen=True)
class Motors:
    """A robot's motors.

    Attributes:
        robot: its name.
        names: of the joints, in the order of the motors.
        mode_machine: what the robot says of itself.
        imu: body that carries the inertial sensor, whose axes are the body's.
    """

    robot: str
    names: tuple[str, ...]
    mode_machine: int
    imu: str

    def order(self, joint_names: Sequence[str]) -> Array:
        """(J,) the motor of each joint.

        Raises:
            DeployError: a joint that no motor moves.
        """
        for name in joint_names:
            if name not in self.names:
                problem = f"the policy moves the joint {name}, which no motor of Unitree's {self.robot} does"
                raise DeployError(problem, f"Its joints: {', '.join(self.names)}")
        return np.array([self.names.index(name) for name in joint_names])


def motors_of(robot: str) -> Motors:
    """Those of a robot by name.

    Raises:
        DeployError: nobody has written them down.
    """
    folder = files(__package__) / "robots"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if robot not in known:
        raise DeployError(f"the order of the motors of {robot!r} is not known", f"Known: {', '.join(known)}")
    told = yaml.safe_load((folder / f"{robot}.yaml").read_text(encoding="utf-8"))
    return Motors(robot, tuple(told["motors"]), told["mode_machine"], told["imu"])
