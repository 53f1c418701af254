"""Random commands drawn in advance, and the line along the ground that follows each. The distributions belong to the tasks.

A plan is the motion of a point with a heading that moves in the direction it faces, or backwards (a unicycle), with limited linear
and angular acceleration. Gaits are later played along it. Steps are control periods; each plan starts at the origin facing x.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

MAX_ACCELERATION, MAX_LATERAL_ACCELERATION = 1.5, 3.0
"""m/s², along the direction of travel and across it. The second one limits how sharply a fast robot turns."""
MAX_TURN_ACCELERATION = 8.0
MAX_EPISODE_SECONDS = 600.0
"""s, longest episode: its references are computed in advance, 30 000 frames at 50 Hz."""
MAX_COMMANDED_RATE = 100.0
"""m/s and rad/s, largest command; a robot that falls does not exceed it."""


@dataclass
class Plans:
    """Q plans of T control steps.

    Attributes:
        pos: (Q, T, 2) m.
        heading: (Q, T) rad, not wrapped.
        turn_rate: (Q, T) rad/s.
        speed: (Q, T) m/s; negative is backwards.
        direction: (Q, T) rad, the commanded heading.
        commanded_speed: (Q, T) m/s along the commanded heading.
        settled: (Q, T) bool, whether the last change of command is long enough ago for errors to count.
        end: (Q, 2) m, the end of the plan.
        last_step: (Q,) control step at which the command ends.
    """

    pos: Tensor
    heading: Tensor
    turn_rate: Tensor
    speed: Tensor
    direction: Tensor
    commanded_speed: Tensor
    settled: Tensor
    end: Tensor
    last_step: Tensor

    @property
    def steps(self) -> int:
        """T."""
        return self.pos.shape[1]

    def to(self, device: torch.device) -> "Plans":
        return Plans(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __getitem__(self, rows: slice) -> "Plans":
        return Plans(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def turned(self, yaw: Tensor) -> "Plans":
        """Each plan turned about its start by an angle (Q,) rad."""
        cos, sin = yaw.cos(), yaw.sin()
        turn = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)
        return replace(
            self,
            pos=self.pos @ turn,
            end=(self.end[:, None] @ turn).squeeze(1),
            heading=self.heading + yaw[:, None],
            direction=self.direction + yaw[:, None],
        )


def uniform(shape: Sequence[int], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform random numbers of the given shape, on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def drive(count: int, steps: int, dt: float, start_speed: Tensor, max_turn_rate: float, law) -> Plans:
    """Run a control law, (step, pos, heading) -> wanted (turn rate, speed), within the acceleration limits."""
    heading, turn_rate, speed = torch.zeros(count), torch.zeros(count), start_speed
    pos = torch.zeros(count, 2)
    rows: list[tuple[Tensor, ...]] = []
    for step in range(steps):
        rows.append((pos, heading, turn_rate, speed))
        wanted_turn, wanted_speed = law(step, pos, heading)
        most = (MAX_LATERAL_ACCELERATION / speed.abs()).clamp_max(max_turn_rate)
        turn_change = (wanted_turn.clamp(-most, most) - turn_rate) / dt
        turn_rate = turn_rate + dt * turn_change.clamp(-MAX_TURN_ACCELERATION, MAX_TURN_ACCELERATION)
        speed = speed + dt * ((wanted_speed - speed) / dt).clamp(-MAX_ACCELERATION, MAX_ACCELERATION)
        heading = heading + dt * turn_rate
        pos = pos + dt * speed[:, None] * torch.stack([heading.cos(), heading.sin()], dim=1)
    columns = (torch.stack(column, dim=1) for column in zip(*rows, strict=True))
    return plans_along(*columns, last_step=steps - 1)


def plans_along(pos: Tensor, heading: Tensor, turn_rate: Tensor, speed: Tensor, *, last_step: int) -> Plans:
    """Plans whose command at every step equals the motion of the line there, see `Plans`."""
    return Plans(
        pos=pos,
        heading=heading,
        turn_rate=turn_rate,
        speed=speed,
        direction=heading,
        commanded_speed=speed,
        settled=torch.ones_like(speed, dtype=torch.bool),
        end=pos[:, last_step],
        last_step=torch.full((len(pos),), last_step),
    )
