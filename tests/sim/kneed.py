"""A robot of two-link legs, whose angles the law of cosines gives; written as a model file, robot.yaml and retarget.yaml."""

from pathlib import Path

from legged import SAID, bone, foot, model, write_files

THIGH, SHANK = 0.3, 0.3
"""m."""


def leg(side: str, y: float) -> str:
    lower = bone(
        f"{side}_shank", f"{side}_knee", "0 2.5", f"0 0 -{THIGH}", 1.0, SHANK, foot(side, "-1.5 1.5", -SHANK, 0.03)
    )
    return bone(f"{side}_thigh", f"{side}_hip", "-2 2", f"0 {y} 0", 1.0, THIGH, lower)


MODEL = model("kneed", 0.65, leg, ("hip", "knee", "ankle"), 8.0)
YAML = SAID.format(name="kneed") + 'pose: {joints: {"*_hip": -0.2, "*_knee": 0.4, "*_ankle": -0.2}}\n'
FOLLOWS = "trunk: {role: pelvis, position: 5, rotation: 5}\n" + "".join(
    f"{side}_thigh: {{role: {side}_hip, after: trunk}}\n"
    f"{side}_shank: {{role: {side}_knee, after: {side}_thigh, position: 1}}\n"
    f"{side}_foot: {{role: {side}_ankle, after: {side}_shank, position: 10, rotation: 1}}\n"
    for side in ("left", "right")
)


def write(folder: Path, follows: str = FOLLOWS) -> Path:
    """Write all files. Returns the robot.yaml."""
    return write_files(folder, {"kneed.xml": MODEL, "robot.yaml": YAML, "retarget.yaml": follows})
