"""Random commands drawn ahead, and the line along the ground that obeys each.

A plan is the motion of a point with a heading that moves the way it faces, or backwards (a unicycle), and cannot turn or speed up
at once. Gaits are later played along it. Steps are control periods; each plan starts at the origin facing x.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from protege.core.robots.rotation import wrap_angle

from ..env_config import GoalParams, PathParams, SteeringParams

MAX_ACCELERATION, MAX_LATERAL_ACCELERATION = 1.5, 3.0
"""m/s², along the way and across it: who is fast turns in a wide curve."""
MAX_TURN_ACCELERATION = 8.0
WALKING_SPEED_LIMIT = 1.25
SLOWEST_COMMAND = 0.15


@dataclass
class Plans:
    """Q plans of T control steps.

    Attributes:
        pos: (Q, T, 2) m.
        heading: (Q, T) rad, not wrapped.
        turn_rate: (Q, T) rad/s.
        speed: (Q, T) m/s; below zero it goes backwards.
        direction: (Q, T) rad, the commanded heading.
        commanded_speed: (Q, T) m/s along the commanded heading.
        settled: (Q, T) bool, the last change of command is long enough ago for errors to count.
        goal: (Q, 2) m, where the plan ends.
        last_step: (Q,) control step at which the command is over.
    """

    pos: Tensor
    heading: Tensor
    turn_rate: Tensor
    speed: Tensor
    direction: Tensor
    commanded_speed: Tensor
    settled: Tensor
    goal: Tensor
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
            goal=(self.goal[:, None] @ turn).squeeze(1),
            heading=self.heading + yaw[:, None],
            direction=self.direction + yaw[:, None],
        )


def _uniform(shape, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def plan_paths(
    count: int, steps: int, last_step: int, dt: float, params: PathParams, generator: torch.Generator
) -> Plans:
    """Smooth random paths: speed and turn rate run linearly between random knots.

    They are one to two seconds apart, or further where speeds are too different for that.
    """
    slower = max(1.0, (params.speed[1] - params.speed[0]) / MAX_ACCELERATION)
    knots = math.ceil(steps * dt / slower) + 2
    times = slower * _uniform((count, knots), 1.0, 2.0, generator).cumsum(dim=1)
    times = times - times[:, :1]
    now = (torch.arange(steps) * dt).expand(count, -1).contiguous()
    right = torch.searchsorted(times, now, right=True).clamp(1, knots - 1)
    t0, t1 = times.gather(1, right - 1), times.gather(1, right)
    weight = (now - t0) / (t1 - t0)

    def at_knots(low: float, high: float) -> Tensor:
        values = _uniform((count, knots), low, high, generator)
        return torch.lerp(values.gather(1, right - 1), values.gather(1, right), weight)

    speed = at_knots(*params.speed)
    bend = MAX_LATERAL_ACCELERATION / speed.abs()
    turn_rate = at_knots(-params.max_turn_rate, params.max_turn_rate).clamp(-bend, bend)
    heading = (turn_rate * dt).cumsum(dim=1) - turn_rate[:, :1] * dt
    pos = _integrate(heading, speed, dt)
    return _obeyed(pos, heading, turn_rate, speed, last_step=last_step)


def plan_goals(
    count: int, steps: int, dt: float, params: GoalParams, generator: torch.Generator, fastest: float = math.inf
) -> Plans:
    """Turn towards a point in any direction, walk there, brake and stand; over at 2 s + distance / approach speed.

    None is faster than `fastest`, m/s.
    """
    fastest = min(fastest, WALKING_SPEED_LIMIT)
    distance = _uniform((count,), *params.distance, generator)
    bearing = _uniform((count,), -math.pi, math.pi, generator)
    goal = torch.stack([distance * bearing.cos(), distance * bearing.sin()], dim=1)
    # A third start standing, the others walking.
    start_speed = _uniform((count,), -0.5, 1.0, generator).clamp(0.0, fastest)

    def pursue(step: int, pos: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        to_goal = goal - pos
        left = to_goal.norm(dim=1)
        error = wrap_angle(torch.atan2(to_goal[:, 1], to_goal[:, 0]) - heading)
        brake = (2.0 * 0.5 * MAX_ACCELERATION * (left - 0.05).clamp_min(0.0)).sqrt()
        speed = brake.clamp_max(fastest) * error.cos().clamp_min(0.0) ** 2
        # Close to the goal its bearing spins round; stop turning there.
        return torch.where(left < 0.15, torch.zeros_like(error), 3.0 * error), speed

    plan = _drive(count, steps, dt, start_speed, params.max_turn_rate, pursue)
    plan.goal = goal
    plan.last_step = ((2.0 + distance / params.approach_speed) / dt).ceil().long()
    return plan


def plan_steering(
    count: int, steps: int, last_step: int, dt: float, params: SteeringParams, generator: torch.Generator
) -> Plans:
    """Directions and speeds that change every few seconds; turn first, then speed up."""
    segments = math.ceil(steps * dt / params.change_time[0]) + 1
    changes = _uniform((count, segments), *params.change_time, generator).cumsum(dim=1)
    now = (torch.arange(steps) * dt).expand(count, -1).contiguous()
    segment = torch.searchsorted(changes, now, right=True)
    directions = _uniform((count, segments), -math.pi, math.pi, generator)
    directions[:, 0] = _uniform((count,), -0.5, 0.5, generator)
    direction = directions.gather(1, segment)
    speeds = _uniform((count, segments), *params.speed, generator)
    if params.slow_share > 0.0:
        slow = torch.rand(count, segments, generator=generator) < params.slow_share
        speeds = torch.where(slow, params.speed[0] + 0.2 * (speeds - params.speed[0]), speeds)
    commanded = speeds.gather(1, segment)
    commanded = torch.where(commanded.abs() < SLOWEST_COMMAND, 0.0, commanded)  # nobody walks as slowly
    begun = torch.cat([torch.zeros(count, 1), changes], dim=1).gather(1, segment)

    def obey(step: int, pos: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        error = wrap_angle(direction[:, step] - heading)
        return 4.0 * error, commanded[:, step] * error.cos().clamp_min(0.0)

    start_speed = _uniform((count,), -0.5, 0.8 * params.speed[1], generator).clamp_min(0.0)
    plan = _drive(count, steps, dt, start_speed, params.max_turn_rate, obey)
    plan.direction, plan.commanded_speed = direction, commanded
    plan.settled = now - begun >= params.settle_time
    plan.goal = plan.pos[:, last_step]
    plan.last_step = torch.full((count,), last_step)
    return plan


def _drive(count: int, steps: int, dt: float, start_speed: Tensor, max_turn_rate: float, law) -> Plans:
    """Run a steering law, (step, pos, heading) -> wanted (turn rate, speed), within the acceleration limits."""
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
    return _obeyed(*columns, last_step=steps - 1)


def _obeyed(pos: Tensor, heading: Tensor, turn_rate: Tensor, speed: Tensor, *, last_step: int) -> Plans:
    """Plans that command at every step just what the line does there, see `Plans`."""
    return Plans(
        pos=pos,
        heading=heading,
        turn_rate=turn_rate,
        speed=speed,
        direction=heading,
        commanded_speed=speed,
        settled=torch.ones_like(speed, dtype=torch.bool),
        goal=pos[:, last_step],
        last_step=torch.full((len(pos),), last_step),
    )


def _integrate(heading: Tensor, speed: Tensor, dt: float) -> Tensor:
    """Positions (Q, T, 2) m of points that move the way they face, starting at the origin."""
    velocity = speed[..., None] * torch.stack([heading.cos(), heading.sin()], dim=-1)
    travelled = (velocity * dt).cumsum(dim=1)
    return travelled - travelled[:, :1]
