"""A robot of two-link legs, whose angles the law of cosines gives; written as a model file, robot.yaml and retarget.yaml."""

from pathlib import Path

THIGH, SHANK = 0.3, 0.3
"""m."""


def leg(side: str, y: float) -> str:
    return f"""
      <body name="{side}_thigh" pos="0 {y} 0">
        <inertial pos="0 0 -0.15" mass="1" diaginertia="0.02 0.02 0.002"/>
        <joint name="{side}_hip" axis="0 1 0" range="-2 2"/>
        <geom type="capsule" size="0.03" fromto="0 0 -0.05 0 0 -0.25"/>
        <body name="{side}_shank" pos="0 0 -{THIGH}">
          <inertial pos="0 0 -0.15" mass="1" diaginertia="0.02 0.02 0.002"/>
          <joint name="{side}_knee" axis="0 1 0" range="0 2.5"/>
          <geom type="capsule" size="0.03" fromto="0 0 -0.05 0 0 -0.25"/>
          <body name="{side}_foot" pos="0 0 -{SHANK}">
            <inertial pos="0 0 -0.03" mass="0.5" diaginertia="0.001 0.002 0.002"/>
            <joint name="{side}_ankle" axis="0 1 0" range="-1.5 1.5"/>
            <geom type="box" size="0.1 0.04 0.02" pos="0.03 0 -0.03"/>
          </body>
        </body>
      </body>"""


MODEL = f"""<mujoco model="kneed">
  <compiler angle="radian" autolimits="true"/>
  <default><joint armature="0.01" actuatorfrcrange="-60 60"/><position kp="200" kv="10"/></default>
  <worldbody>
    <body name="trunk" pos="0 0 0.65">
      <freejoint/>
      <inertial pos="0 0 0.15" mass="8" diaginertia="0.1 0.1 0.05"/>
      <geom type="box" size="0.06 0.12 0.1" pos="0 0 0.15"/>
      {leg("left", 0.1)}
      {leg("right", -0.1)}
    </body>
  </worldbody>
  <actuator>
    <position joint="left_hip"/><position joint="left_knee"/><position joint="left_ankle"/>
    <position joint="right_hip"/><position joint="right_knee"/><position joint="right_ankle"/>
  </actuator>
</mujoco>
"""
SAID = """robot: {name: kneed, model: kneed.xml}
rates: {control: 50, physics: 200}
groups: {feet: {left: [left_foot], right: [right_foot]}, torso: trunk, imu: trunk}
servos: {action_scale: 0.3}
pose: {joints: {"*_hip": -0.2, "*_knee": 0.4, "*_ankle": -0.2}}
"""
FOLLOWS = "trunk: {role: pelvis, position: 5, rotation: 5}\n" + "".join(
    f"{side}_thigh: {{role: {side}_hip, after: trunk}}\n"
    f"{side}_shank: {{role: {side}_knee, after: {side}_thigh, position: 1}}\n"
    f"{side}_foot: {{role: {side}_ankle, after: {side}_shank, position: 10, rotation: 1}}\n"
    for side in ("left", "right")
)


def write(folder: Path, follows: str = FOLLOWS) -> Path:
    """All files. Returns the robot.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"kneed.xml": MODEL, "robot.yaml": SAID, "retarget.yaml": follows}.items():
        (folder / name).write_text(text)
    return folder / "robot.yaml"
