"""A small robot of one's own: a trunk on two straight legs, written as a model file and a robot.yaml."""

from pathlib import Path

TRUNK, LEG, FOOT = 8.0, 1.0, 0.5
"""kg of the trunk and of each leg and foot."""
AHEAD = 0.03
"""m by which the trunk's centre of mass is before the hips."""
SERVO = 'kp="200" kv="10"'


def leg(side: str, y: float) -> str:
    return f"""
      <body name="{side}_leg" pos="0 {y} 0">
        <inertial pos="0 0 -0.2" mass="{LEG}" diaginertia="0.02 0.02 0.002"/>
        <joint name="{side}_hip" axis="0 1 0" range="-1 1"/>
        <geom type="capsule" size="0.03" fromto="0 0 -0.05 0 0 -0.35"/>
        <body name="{side}_foot" pos="0 0 -0.4">
          <inertial pos="0 0 -0.03" mass="{FOOT}" diaginertia="0.001 0.002 0.002"/>
          <joint name="{side}_ankle" axis="0 1 0" range="-0.8 0.8"/>
          <geom type="box" size="0.1 0.04 0.02" pos="0 0 -0.03"/>
        </body>
      </body>"""


MODEL = f"""<mujoco model="biped">
  <compiler angle="radian" autolimits="true"/>
  <default><joint armature="0.01" actuatorfrcrange="-60 60"/><position {SERVO}/></default>
  <worldbody>
    <body name="trunk" pos="0 0 0.45">
      <freejoint/>
      <inertial pos="{AHEAD} 0 0.15" mass="{TRUNK}" diaginertia="0.1 0.1 0.05"/>
      <geom type="box" size="0.06 0.12 0.1" pos="0 0 0.15"/>
      {leg("left", 0.1)}
      {leg("right", -0.1)}
    </body>
  </worldbody>
  <actuator>
    <position joint="left_hip"/><position joint="left_ankle"/><position joint="right_hip"/><position joint="right_ankle"/>
  </actuator>
</mujoco>
"""
SAID = """robot: {name: biped, model: biped.xml}
rates: {control: 50, physics: 200}
groups: {feet: {left: [left_foot], right: [right_foot]}, torso: trunk, imu: trunk}
servos: {action_scale: 0.3}
physics: {self_collision: true}
"""


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    """Both files; `changes` replace a text that is in one of them. Returns the robot.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"biped.xml": MODEL, "robot.yaml": SAID}
    for old, new in changes:
        [name] = [name for name, text in texts.items() if old in text]
        texts[name] = texts[name].replace(old, new)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder / "robot.yaml"
