"""An installed robot's model for MuJoCo, without a policy. Needs core, and the package that offers the robot."""

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.plugins import entry_points

from ..errors import DeployError


def robot_model(name: str) -> tuple[str, dict[str, float]]:
    """A robot by name: its MJCF, and its default pose, joint angles in rad by name.

    Raises:
        DeployError: it is not installed.
    """
    try:
        robot = env_plugin().robot(name)
    except UserError as error:
        raise DeployError(error.problem, error.remedy) from error
    for entry in entry_points(group="protege.models"):
        return entry.load()(robot), dict(zip(robot.joint_names, robot.default_joint_pos, strict=True))
    raise DeployError("no package here offers models of robots", "Install protege-sim, or take --export FOLDER")
