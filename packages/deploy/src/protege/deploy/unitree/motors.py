"""The joints of the motors in Unitree's messages, one file per robot in `robots/`. Joints are identified by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import yaml

from ..errors import DeployError
from ..geometry import Array


@dataclass(frozen=True)
class Motors:
    """A robot's motors.

    Attributes:
        robot: its name.
        names: of the joints, in the order of the motors.
        mode_machine: the robot's value of this field in its states.
        imu: body that carries the inertial sensor, whose axes are the body's.
    """

    robot: str
    names: tuple[str, ...]
    mode_machine: int
    imu: str

    def order(self, joint_names: Sequence[str]) -> Array:
        """(J,) index of each joint's motor.

        Raises:
            DeployError: a joint has no motor.
        """
        for name in joint_names:
            if name not in self.names:
                problem = f"the policy moves the joint {name}, which no motor of Unitree's {self.robot} does"
                raise DeployError(problem, f"Its joints: {', '.join(self.names)}")
        return np.array([self.names.index(name) for name in joint_names])


def motors_of(robot: str) -> Motors:
    """The motors of a robot by its name.

    Raises:
        DeployError: there is no file for it.
    """
    folder = files(__package__) / "robots"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if robot not in known:
        raise DeployError(f"the order of the motors of {robot!r} is not known", f"Known: {', '.join(known)}")
    data = yaml.safe_load((folder / f"{robot}.yaml").read_text(encoding="utf-8"))
    return Motors(robot, tuple(data["motors"]), data["mode_machine"], data["imu"])
