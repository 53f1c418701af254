"""The fields of a MuJoCo model in which envs may differ; all backends have them under the same names."""

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
    """

    FIELDS = (
        *("geom_friction", "body_mass", "body_inertia", "body_subtreemass", "body_ipos"),
        *("actuator_gainprm", "actuator_biasprm"),
    )

    def __init__(
        self, model: Any, device: torch.device, dtype: torch.dtype, bodies: slice | Tensor, actuators: slice | Tensor
    ) -> None:
        self.bodies, self.actuators = bodies, actuators
        self.fields = {name: torch.from_numpy(np.array(getattr(model, name))).to(device, dtype) for name in self.FIELDS}
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
        return values
