"""How the bodies of envs differ, one number per difference: inputs by which the world model distinguishes envs."""

from typing import NamedTuple

import torch
from torch import Tensor

from protege.core.robots.robot import Robot

from .env_config import RandomizationParams
from .simulators.simulator import Variation

AXES = ("x", "y", "z")


class Quantity(NamedTuple):
    """One kind of difference, with a column for each body or joint.

    Attributes:
        columns: names of the columns.
        bounds: least and largest value that is drawn.
        nominal: the value of the robot's description.
    """

    columns: list[str]
    bounds: tuple[float, float]
    nominal: float


def quantities(params: RandomizationParams, robot: Robot) -> dict[str, Quantity]:
    """The quantities that `params` varies, by name."""
    bodies, joints = robot.body_names, robot.joint_names
    stiffness, damping = (_product(bounds, params.motors) for bounds in (params.stiffness, params.damping))
    torso = {robot.groups.torso} if params.torso_com else set()
    others = [x for x in bodies if x not in torso]
    every = {
        "friction": Quantity(["friction"], params.friction, 1.0),
        "mass": Quantity([f"mass/{x}" for x in bodies], params.mass, 1.0),
        "com": Quantity([f"com_{a}/{x}" for x in others for a in AXES], (-params.com, params.com), 0.0),
        "torso_com": Quantity(
            [f"com_{a}/{x}" for x in torso for a in AXES], (-params.torso_com, params.torso_com), 0.0
        ),
        "stiffness": Quantity([f"stiffness/{x}" for x in joints], stiffness, 1.0),
        "damping": Quantity([f"damping/{x}" for x in joints], damping, 1.0),
        "effort": Quantity([f"effort/{x}" for x in joints], params.effort, 1.0),
        "contact_time": Quantity(["contact_time"], params.contact_time, 1.0),
    }
    return {name: each for name, each in every.items() if each.bounds != (each.nominal, each.nominal)}


class Factors:
    """The differences of n envs as a table.

    A value is 0 where it equals that of the robot's description, and 1 or -1 at the largest deviation that is drawn.

    Attributes:
        ranges: least and largest value that is drawn, before scaling, by the name of each column; F columns.
        values: (n, F), overwritten in place.
    """

    def __init__(self, params: RandomizationParams, robot: Robot, n: int, device: torch.device) -> None:
        self._varied = quantities(params, robot)
        torso = {robot.body_names.index(robot.groups.torso)} if params.torso_com else set()
        groups = ("com", set(range(robot.num_bodies)) - torso), ("torso_com", torso)
        self._shifted = {name: torch.tensor(sorted(ids), dtype=torch.long, device=device) for name, ids in groups}
        self.ranges = {name: q.bounds for q in self._varied.values() for name in q.columns}
        self.values = torch.zeros(n, len(self.ranges), device=device)

    def of(self, variation: Variation) -> Tensor:
        """The table of envs with this variation, (n, F)."""
        raw: dict[str, Tensor] = {}
        if variation.friction is not None:
            raw["friction"] = variation.friction.unsqueeze(1)
        if variation.mass is not None:
            raw["mass"] = variation.mass
        if variation.com is not None:
            raw |= {name: variation.com.index_select(1, ids).flatten(1) for name, ids in self._shifted.items()}
        if variation.gains is not None:
            raw["stiffness"], raw["damping"] = variation.gains.unbind(2)
        if variation.effort is not None:
            raw["effort"] = variation.effort
        if variation.contact_time is not None:
            raw["contact_time"] = variation.contact_time.unsqueeze(1)
        return torch.cat([scaled(raw[name], quantity) for name, quantity in self._varied.items()], dim=1)


def _product(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Least and largest product of two factors, neither of them negative."""
    return one[0] * other[0], one[1] * other[1]


def scaled(value: Tensor, quantity: Quantity) -> Tensor:
    """Scaled as `Factors` says."""
    low, high = quantity.bounds
    return (value - quantity.nominal) / max(quantity.nominal - low, high - quantity.nominal)
