"""Parts of the small robots of tests: a trunk on two legs whose hinges turn about y, as MuJoCo's XML."""

from collections.abc import Callable, Sequence
from pathlib import Path

SERVO = 'kp="200" kv="10"'
FOOT_MASS = 0.5
"""kg."""
SAID = """robot: {{name: {name}, model: {name}.xml}}
rates: {{control: 50, physics: 200}}
groups: {{feet: {{left: [left_foot], right: [right_foot]}}, torso: trunk, imu: trunk}}
servos: {{action_scale: 0.3}}
"""
"""The robot.yaml of such a robot, to be formatted with its name."""


def bone(name: str, joint: str, limits: str, pos: str, mass: float, length: float, below: str) -> str:
    """A body that hangs down from its hinge.

    Args:
        limits: of the hinge, rad.
        pos: of the hinge in the parent's frame, m.
        mass: kg, in the middle.
        length: m.
        below: the body at its lower end.
    """
    return f"""
      <body name="{name}" pos="{pos}">
        <inertial pos="0 0 {-length / 2:g}" mass="{mass}" diaginertia="0.02 0.02 0.002"/>
        <joint name="{joint}" axis="0 1 0" range="{limits}"/>
        <geom type="capsule" size="0.03" fromto="0 0 -0.05 0 0 {0.05 - length:g}"/>
        {below}
      </body>"""


def foot(side: str, limits: str, height: float, ahead: float = 0.0) -> str:
    """A foot, whose hinge is at `height` (m) in the frame of the bone above; its box is `ahead` (m) of the hinge."""
    return f"""
      <body name="{side}_foot" pos="0 0 {height:g}">
        <inertial pos="0 0 -0.03" mass="{FOOT_MASS:g}" diaginertia="0.001 0.002 0.002"/>
        <joint name="{side}_ankle" axis="0 1 0" range="{limits}"/>
        <geom type="box" size="0.1 0.04 0.02" pos="{ahead:g} 0 -0.03"/>
      </body>"""


def model(
    name: str, height: float, leg: Callable[[str, float], str], joints: Sequence[str], mass: float, ahead: float = 0.0
) -> str:
    """The model file.

    Args:
        height: of the hips, m.
        leg: a leg's XML, by its side and the y of its hip.
        joints: of a leg, each with a servo.
        mass: of the trunk, kg, whose centre is `ahead` (m) of the hips.
    """
    servos = "".join(f'<position joint="{side}_{joint}"/>' for side in ("left", "right") for joint in joints)
    return f"""<mujoco model="{name}">
  <compiler angle="radian" autolimits="true"/>
  <default><joint armature="0.01" actuatorfrcrange="-60 60"/><position {SERVO}/></default>
  <worldbody>
    <body name="trunk" pos="0 0 {height:g}">
      <freejoint/>
      <inertial pos="{ahead:g} 0 0.15" mass="{mass}" diaginertia="0.1 0.1 0.05"/>
      <geom type="box" size="0.06 0.12 0.1" pos="0 0 0.15"/>
      {leg("left", 0.1)}
      {leg("right", -0.1)}
    </body>
  </worldbody>
  <actuator>{servos}</actuator>
</mujoco>
"""


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files by their names. Returns the robot.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder / "robot.yaml"
