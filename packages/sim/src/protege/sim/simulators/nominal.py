"""The fields of a MuJoCo model in which envs may differ, under the same names in all backends."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .simulator import Variation


class Nominal:
    """The values that a `Variation` changes, as in the robot's description.

    The softness of contacts and limits (MuJoCo's `invweight0`) stays that of the nominal bodies.

    Args:
        model: a MuJoCo model, or any object with these arrays.
        dtype: of the simulator's arrays.
        bodies: the model's ids of the bodies of a `Variation`, in its order.
        actuators: the same for the servos.
        joints: the same for the joints; None where `LIMITS` cannot be varied.
    """

    BODIES = (
        *("geom_friction", "body_mass", "body_inertia", "body_subtreemass", "body_ipos"),
        *("actuator_gainprm", "actuator_biasprm"),
    )
    """Fields that every backend can vary."""
    LIMITS = ("jnt_actfrcrange", "geom_solref")
    """Fields that only those backends can vary whose model is MuJoCo's own."""
    FIELDS = BODIES + LIMITS

    def __init__(
        self,
        model: Any,
        device: torch.device,
        dtype: torch.dtype,
        bodies: slice | Tensor,
        actuators: slice | Tensor,
        joints: slice | None = None,
    ) -> None:
        self.bodies, self.actuators, self.joints = bodies, actuators, joints
        names = self.BODIES if joints is None else self.FIELDS
        self.fields = {name: torch.from_numpy(np.array(getattr(model, name))).to(device, dtype) for name in names}
        # Row: a body of MuJoCo (body 0 is the world); column: the bodies whose subtrees contain it.
        parents = model.body_parentid.tolist()
        self.within = torch.eye(len(parents), device=device, dtype=dtype)
        for body, parent in enumerate(parents[1:], start=1):
            self.within[body] += self.within[parent]

    def varied(self, variation: Variation) -> dict[str, Tensor]:
        """Values of the fields that differ, (N, ...) each."""
        nominal, values = self.fields, {}
        if variation.friction is not None:
            values["geom_friction"] = nominal["geom_friction"] * variation.friction[:, None, None]
        if variation.mass is not None:
            factor = nominal["body_mass"].new_ones(len(variation.mass), len(nominal["body_mass"]))
            factor[:, self.bodies] = variation.mass.to(factor.dtype)
            mass = values["body_mass"] = nominal["body_mass"] * factor
            values["body_inertia"] = nominal["body_inertia"] * factor.unsqueeze(2)
            values["body_subtreemass"] = nominal["body_subtreemass"] + (mass - nominal["body_mass"]) @ self.within
        if variation.com is not None:
            values["body_ipos"] = nominal["body_ipos"].repeat(len(variation.com), 1, 1)
            values["body_ipos"][:, self.bodies] += variation.com
        if variation.gains is not None:
            stiffness, damping = variation.gains.unbind(2)  # torque = gain[0] target + bias[1] angle + bias[2] rate
            gain, bias = (nominal[f"actuator_{name}prm"].repeat(len(stiffness), 1, 1) for name in ("gain", "bias"))
            gain[:, self.actuators, 0] *= stiffness
            bias[:, self.actuators, 1] *= stiffness
            bias[:, self.actuators, 2] *= damping
            values |= {"actuator_gainprm": gain, "actuator_biasprm": bias}
        if variation.effort is not None:
            values["jnt_actfrcrange"] = nominal["jnt_actfrcrange"].repeat(len(variation.effort), 1, 1)
            values["jnt_actfrcrange"][:, self.joints] *= variation.effort.unsqueeze(2)
        if variation.contact_time is not None:
            # Of two shapes that touch MuJoCo takes the mean: all of them are softer by the same factor, and so are contacts.
            values["geom_solref"] = nominal["geom_solref"].repeat(len(variation.contact_time), 1, 1)
            values["geom_solref"][:, :, 0] *= variation.contact_time.unsqueeze(1)
        return values
