"""The rules between keys of `policy.json` that its schema cannot express."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from ..interface import RANGE_UNITS
from .policy_schema import short

Metadata = Any  # of `metadata.py`, which imports these rules
SCHEMA_VERSIONS = {"full_state": 2, "onboard": 3}
"""By the policy's sensors. A new key that readers may ignore does not change the version; any other change does."""
RANGE_TOLERANCE = 1e-6  # rad, for a default pose at the end of a joint's range
MAX_SUBSTEPS = 10_000


def contradiction(metadata: Metadata) -> str | None:
    """Description of the first broken rule between keys; None if all hold."""
    return next((line for rule in _RULES for line in rule(metadata)), None)


def _lengths(metadata: Metadata) -> Iterator[str]:
    joints, start = metadata.num_joints, metadata.start
    rows = {
        name: getattr(metadata, name)
        for name in ("stiffness", "damping", "effort_limit", "default_joint_pos", "action_scale")
    }
    rows["joint_range"] = metadata.joint_range
    if start is not None:
        rows |= {"start.joint_pos": start.joint_pos, "start.joint_vel": start.joint_vel}
    for name, values in rows.items():
        if len(values) != joints:
            yield f"{name} has {len(values)} entries for {joints} joints"


def _joints(metadata: Metadata) -> Iterator[str]:
    for name, (low, high), default in zip(
        metadata.joint_names, metadata.joint_range, metadata.default_joint_pos, strict=True
    ):
        if not low < high:
            yield f"joint_range of {name} is from {low:g} to {high:g} rad, which does not rise"
        if not low - RANGE_TOLERANCE <= default <= high + RANGE_TOLERANCE:
            yield f"default_joint_pos of {name} is {default:g} rad, beyond its range of {low:g} to {high:g}"


def _times(metadata: Metadata) -> Iterator[str]:
    steps = metadata.control_dt / metadata.physics_dt
    if not 0.5 < steps < MAX_SUBSTEPS + 0.5 or abs(steps - round(steps)) > 1e-3:
        yield (
            f"control_dt must be 1 to {MAX_SUBSTEPS} times physics_dt, a whole number, "
            f"not {metadata.control_dt:g} s over {metadata.physics_dt:g} s"
        )
    for name in ("path_times", "future_frames"):
        values = getattr(metadata, name)
        if any(later <= earlier for earlier, later in pairwise(values)):
            yield f"{name} must rise, not be {short(values)}"
    onboard = metadata.sensors == "onboard"
    path, poses = ("path_h", "target_body_pos_h") if onboard else ("path_w", "target_body_pos_w")
    for name, input_name in (("path_times", path), ("future_frames", poses)):
        values, spec = getattr(metadata, name), metadata.input(input_name)
        wanted = spec.shape[0] if spec is not None and spec.shape else 0
        if len(values) != wanted:
            yield f"{name} has {len(values)} entries, and {input_name} takes {wanted}"


def _start(metadata: Metadata) -> Iterator[str]:
    if metadata.start is not None and abs(math.hypot(*metadata.start.root_quat_w) - 1.0) > 1e-2:
        yield f"start.root_quat_w has the length {math.hypot(*metadata.start.root_quat_w):g}, not 1"


def _fall(metadata: Metadata) -> Iterator[str]:
    if (body := metadata.fall.head_body) and body not in metadata.body_names:
        yield f"fall.head_body is {short(body)}, which is none of body_names"


def _modalities(metadata: Metadata) -> Iterator[str]:
    mask, names = metadata.input("command_mask"), [modality.name for modality in metadata.modalities]
    if len(set(names)) < len(names) or [len(names)] != (mask.shape if mask else [0]):
        yield f"modalities must name the columns of command_mask, each once, not {short(names)}"
    for modality in metadata.modalities:
        if unknown := [name for name in modality.inputs if metadata.input(name) is None]:
            yield f"modalities: {modality.name} is made of {short(unknown[0])}, which is no input"


def _ranges(metadata: Metadata) -> Iterator[str]:
    for name, limits in metadata.command_ranges.items():
        unit = RANGE_UNITS.get(name, limits.unit)
        if limits.low > limits.high or limits.unit != unit:
            yield (
                f"command_ranges.{name} must rise and be in {unit}, "
                f"not from {limits.low:g} to {limits.high:g} {limits.unit}"
            )
    for entry in metadata.closed_loop:
        if entry.success_ci[0] > entry.success_ci[1]:
            yield f"closed_loop: the interval of {entry.task} is {entry.success_ci}, which does not rise"


def _sensors(metadata: Metadata) -> Iterator[str]:
    if metadata.schema_version != SCHEMA_VERSIONS[metadata.sensors]:
        yield f"sensors are {metadata.sensors}, which is not schema version {metadata.schema_version}"
    if (metadata.sensors == "onboard") != (metadata.input("imu_quat") is not None):
        yield f"sensors are {metadata.sensors}, and imu_quat is {'no' if metadata.sensors == 'onboard' else 'an'} input"
    if (metadata.sensors == "onboard") != (metadata.imu is not None):
        yield f"sensors are {metadata.sensors}, and imu is {'null' if metadata.imu is None else 'given'}"
    if metadata.imu is not None and metadata.imu.body not in metadata.body_names:
        yield f"imu.body is {short(metadata.imu.body)}, which is none of body_names"
    if metadata.imu is not None and abs(math.hypot(*metadata.imu.quat) - 1.0) > 1e-2:
        yield f"imu.quat has the length {math.hypot(*metadata.imu.quat):g}, not 1"


_RULES = (_sensors, _lengths, _joints, _times, _start, _fall, _modalities, _ranges)
