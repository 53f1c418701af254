"""A small custom robot: a trunk on two straight legs, written as a model file and a robot.yaml."""

from pathlib import Path

from legged import FOOT_MASS, SAID, bone, foot, model, write_files

TRUNK, LEG, FOOT = 8.0, 1.0, FOOT_MASS
"""kg of the trunk and of each leg and foot."""
AHEAD = 0.03
"""m by which the trunk's centre of mass is before the hips."""
LENGTH = 0.4
"""m from hip to ankle."""


def leg(side: str, y: float) -> str:
    lower = foot(side, "-0.8 0.8", -LENGTH)
    return bone(f"{side}_leg", f"{side}_hip", "-1 1", f"0 {y} 0", LEG, LENGTH, lower)


MODEL = model("biped", 0.45, leg, ("hip", "ankle"), TRUNK, AHEAD)
YAML = SAID.format(name="biped") + "physics: {self_collision: true}\n"


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write both files; `changes` replace text in one of them. Returns the robot.yaml."""
    texts = {"biped.xml": MODEL, "robot.yaml": YAML}
    for old, new in changes:
        [name] = [name for name, text in texts.items() if old in text]
        texts[name] = texts[name].replace(old, new)
    return write_files(folder, texts)
