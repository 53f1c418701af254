"""The drive of a joint in a model: the gains of its servo, and its largest torque."""

from collections.abc import Sequence
from math import pi

import numpy as np

from protege.core.errors import UserError

from ..engine import mujoco
from .faults import Faults
from .patterns import by_joint
from .robot_file import Servos

Gains = tuple[float, float]
"""Stiffness N·m/rad and damping N·m·s/rad."""


def gains_by_joint(names: Sequence[str], settings: Servos, faults: Faults) -> dict[str, Gains]:
    """The gains of the joints in `servos.stiffness` and `servos.damping`.

    Args:
        names: of all joints.
        settings: the section with these keys.
        faults: receives names that match no joint, and joints that only one of the two keys matches.
    """
    stiffness = by_joint("servos.stiffness", names, settings.stiffness, faults)
    damping = by_joint("servos.damping", names, settings.damping, faults)
    for name in [name for name in names if (name in stiffness) != (name in damping)]:
        problem = f"servos.{'damping' if name in stiffness else 'stiffness'}: nothing fits the joint {name}"
        faults.append(UserError(problem, "Name it under stiffness and under damping"))
    return {name: (stiffness[name], damping[name]) for name in stiffness if name in damping}


def servo(
    model: mujoco.MjModel, joint: int, settings: Servos | None, gains: Gains | None, faults: Faults
) -> tuple[Gains, float] | None:
    """Gains and effort limit N·m of a hinge; None if one of them cannot be determined.

    Args:
        model: compiled.
        joint: its row in the model.
        settings: the rule for gains that do not come from a position servo in the model; None if it is unknown.
        gains: replace the others, if they are given.
        faults: receives errors: no actuator or several move the joint, or it has no gains or no limit.
    """
    name = model.joint(joint).name
    driven = (model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT) & (model.actuator_trnid[:, 0] == joint)
    rows = np.flatnonzero(driven).tolist()
    if len(rows) != 1:
        found = "no actuator" if not rows else f"{len(rows)} actuators"
        faults.append(UserError(f"joint {name} has {found}", f'Give it one, e.g. <motor joint="{name}"/>'))
        return None
    if gains is None and settings is not None:
        gains = faults.collect(_gains, model, joint, rows[0], name, settings)
    limit = faults.collect(_effort_limit, model, joint, rows[0], name)
    return None if gains is None or limit is None else (gains, limit)


def _gains(model: mujoco.MjModel, joint: int, row: int, name: str, settings: Servos) -> tuple[float, float]:
    armature, gear = float(model.dof_armature[model.jnt_dofadr[joint]]), float(model.actuator_gear[row, 0])
    if settings.natural_frequency is not None:
        if not armature > 0.0:
            raise UserError(f"joint {name} has no armature", "Give it one: servos.natural_frequency makes gains of it")
        omega = 2.0 * pi * settings.natural_frequency
        return armature * omega**2, 2.0 * settings.damping_ratio * armature * omega
    stiffness, (offset, bias, rate) = float(model.actuator_gainprm[row, 0]), model.actuator_biasprm[row, :3].tolist()
    if not (stiffness > 0.0 and bias == -stiffness and rate <= 0.0 and offset == 0.0 and gear == 1.0):
        raise UserError(
            f"joint {name} is moved by something else than a position servo of gear 1",
            "Take <position kp=... kv=.../>, or set servos.stiffness and servos.damping, or servos.natural_frequency",
        )
    return stiffness, 0.0 - rate  # not -0.0


def _effort_limit(model: mujoco.MjModel, joint: int, row: int, name: str) -> float:
    """Effort limit at the joint: of the joint, of the actuator's force, or of a motor's control; the first that is limited."""
    gear = abs(float(model.actuator_gear[row, 0]))
    limits = []
    if model.jnt_actfrclimited[joint]:
        limits = [model.jnt_actfrcrange[joint]]
    elif model.actuator_forcelimited[row]:
        limits = [model.actuator_forcerange[row] * gear]
    elif model.actuator_ctrllimited[row] and model.actuator_biastype[row] == mujoco.mjtBias.mjBIAS_NONE:
        limits = [model.actuator_ctrlrange[row] * model.actuator_gainprm[row, 0] * gear]
    limit = float(np.abs(limits).min()) if limits else 0.0
    if not limit > 0.0:
        raise UserError(f"joint {name} has no largest torque", 'Give it one: actuatorfrcrange="-50 50"')
    return limit
