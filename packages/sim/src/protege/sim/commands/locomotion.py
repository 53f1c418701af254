"""Commands that are places and speeds: follow this path, be there by then, go that way; with a clip warped to obey them."""

from typing import Literal

import torch
from torch import Tensor

from protege.core import observations
from protege.core import rotation as R
from protege.core.env import Obs
from protege.core.state import RobotState

from ..env_config import EnvConfig
from .gait import Gait
from .masks import MaskSampler
from .plans import Plans, plan_goals, plan_paths, plan_steering
from .window import Frames, ReferenceWindow

Kind = Literal["path", "goal", "steering"]
PATH_TIMES = tuple(0.5 * (k + 1) for k in range(10))
"""How far ahead the path's points are, s."""
MODALITIES: tuple[Kind, ...] = ("path", "goal", "steering")
STATE = ("plan", "yaw", "phase_start", "step", "last_step", "shift", "pose_mask", "command_mask")


def make_plans(kind: Kind, config: EnvConfig, dt: float, generator: torch.Generator) -> Plans:
    """A pool of `config.num_plans` random commands of a kind, long enough for an episode and what is seen ahead of it."""
    last = round(config.episode_length_s / dt)
    ahead = max(config.future_frames) + 2
    count = config.num_plans
    if kind == "path":
        steps = last + max(ahead, round(PATH_TIMES[-1] / dt) + 1)
        return plan_paths(count, steps, last, dt, config.path_follower_params, generator)
    if kind == "steering":
        return plan_steering(count, last + ahead, last, dt, config.steering_params, generator)
    longest = 2.0 + config.goal_params.distance[1] / config.goal_params.approach_speed
    return plan_goals(count, round(longest / dt) + 1 + ahead, dt, config.goal_params, generator)


class LocomotionCommand:
    """Worlds that walk along random plans of one kind.

    The reference of a steering world is carried along with the robot, since a direction and a speed say nothing about
    where to be; path and goal references stay where they are.

    Args:
        n: worlds.
        kind: the modality that is always shown.
        masks: what a mixed world sees of the poses.
    """

    def __init__(
        self,
        n: int,
        kind: Kind,
        gait: Gait,
        config: EnvConfig,
        dt: float,
        masks: MaskSampler,
        generator: torch.Generator,
    ) -> None:
        robot_joints, robot_bodies, device = gait.joint_pos.shape[1], gait.num_bodies, gait.joint_pos.device
        self.kind: Kind = kind
        self.gait, self.dt, self.masks, self.generator, self.config = gait, dt, masks, generator, config
        # Plans are drawn on the CPU, so that a seed gives the same commands on every device.
        cpu = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator, device=device)))
        self.plans = make_plans(kind, config, dt, cpu).to(device)
        cadence, amplitude = gait.cadence_and_amplitude(self.plans.speed)
        # Turning on the spot still takes steps.
        self.amplitude = torch.maximum(amplitude, 0.5 * self.plans.turn_rate.abs().clamp_max(1.0))
        self.phase = (cadence * dt).cumsum(dim=1) - cadence[:, :1] * dt
        self.window = ReferenceWindow(n, robot_bodies, robot_joints, config.future_frames, dt, device)
        self.path_steps = (torch.tensor(PATH_TIMES, device=device) / dt).round().long()
        self.plan = torch.zeros(n, dtype=torch.long, device=device)
        self.yaw = torch.zeros(n, device=device)
        self.phase_start = torch.zeros(n, device=device)
        self.step = torch.zeros(n, dtype=torch.long, device=device)
        self.last_step = torch.zeros(n, dtype=torch.long, device=device)
        self.shift = torch.zeros(n, 3, device=device)
        frames = len(config.future_frames)
        self.pose_mask = torch.zeros(n, frames, robot_bodies, dtype=torch.bool, device=device)
        self.command_mask = torch.zeros(n, 3, dtype=torch.bool, device=device)

    def reset(self, rows: Tensor) -> RobotState:
        n, device = len(rows), rows.device
        draws = torch.rand(n, 7, device=device, generator=self.generator)
        self.plan[rows] = (draws[:, 0] * len(self.plans.pos)).long()
        self.yaw[rows] = (2.0 * draws[:, 1] - 1.0) * torch.pi
        self.phase_start[rows] = draws[:, 2] * self.gait.duration
        self.step[rows], self.shift[rows] = 0, 0.0
        self.last_step[rows] = self.plans.last_step[self.plan[rows]]
        # A mixed world sees its own command and, each by the toss of a coin, the others that its plan implies.
        mixed = (draws[:, 3:4] < self.config.mix_probability) & (self.kind != "steering")
        shown = mixed & (draws[:, 4:7] < 0.5)
        self.pose_mask[rows] = self.masks.sample(n, self.generator) & shown[:, :1, None]
        others = [m for m in MODALITIES if m != self.kind]
        columns = {self.kind: torch.ones_like(mixed[:, 0]), others[0]: shown[:, 1], others[1]: shown[:, 2]}
        self.command_mask[rows] = torch.stack([columns[m] for m in MODALITIES], dim=1)
        self.window.fill(rows, self._frames, self.step[rows])
        return self.window.now(rows)

    def advance(self, state: RobotState) -> None:
        self.step += 1
        self.window.advance(self._frames, self.step)
        if self.kind == "steering":
            self.shift[:, :2] = state.root_pos_w[:, :2] - self.window.body_pos_w[:, 1, 0, :2]

    def anchor(self, state: RobotState, rows: Tensor | slice) -> Tensor:
        return self.shift[rows]

    def observe(self, state: RobotState, rows: Tensor | slice) -> Obs:
        plan, step, yaw, mask = self.plan[rows], self.step[rows], self.yaw[rows], self.command_mask[rows]
        points = self.to_world(
            self.plans.pos[plan[:, None], (step[:, None] + self.path_steps).clamp_max(self.plans.pos.shape[1] - 1)],
            yaw[:, None],
        )
        time_left = (self.last_step[rows] - step) * self.dt
        direction, speed = self.steering_command(rows)
        facing = direction if self.config.steering_params.obs_size == 5 else None
        values = {
            "path": observations.path(state, points),
            "goal": observations.goal(state, self.goal_w(rows), time_left),
            "steering": observations.steering(state, direction, speed, facing),
        }
        shown = {
            name: torch.where(mask[:, k].reshape(-1, *[1] * (value.ndim - 1)), value, torch.zeros_like(value))
            for k, (name, value) in enumerate(values.items())
        }
        return {**shown, "command_mask": mask, "pose_mask": self.pose_mask[rows]}

    def path_w(self, rows: Tensor | slice) -> Tensor:
        """Where the plan is now, (n, 2) m."""
        return self.to_world(self.plans.pos[self.plan[rows], self.step[rows]], self.yaw[rows])

    def goal_w(self, rows: Tensor | slice) -> Tensor:
        """Where the plan ends, (n, 2) m."""
        return self.to_world(self.plans.goal[self.plan[rows]], self.yaw[rows])

    def steering_command(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Commanded direction (n, 2), a unit vector, and speed (n,) m/s."""
        plan, step = self.plan[rows], self.step[rows]
        angle = self.plans.direction[plan, step] + self.yaw[rows]
        return torch.stack([angle.cos(), angle.sin()], dim=-1), self.plans.commanded_speed[plan, step]

    def settled(self, rows: Tensor | slice) -> Tensor:
        """(n,) bool: the last change of command is long enough ago for errors to count."""
        return self.plans.settled[self.plan[rows], self.step[rows]]

    @staticmethod
    def to_world(points: Tensor, yaw: Tensor) -> Tensor:
        """Plan coordinates (..., 2) m turned by each world's yaw (...)."""
        cos, sin = yaw.cos(), yaw.sin()
        x, y = points.unbind(-1)
        return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)

    def _frames(self, rows: Tensor, steps: Tensor) -> Frames:
        """The clip warped along the plan at control steps (n, W)."""
        n, width = steps.shape
        # Before its first step a plan is extended backwards at constant velocity, for the first central difference.
        before = steps.clamp_max(0).flatten() * self.dt
        at = (self.plan[rows, None], steps.clamp(0, self.plans.pos.shape[1] - 1))
        flat = {name: getattr(self.plans, name)[at].flatten() for name in ("heading", "speed", "turn_rate")}
        phase = self.phase_start[rows, None].expand(n, width).flatten() + self.phase[at].flatten()
        cadence, _ = self.gait.cadence_and_amplitude(flat["speed"])
        joint_pos, tilt, sway, height = self.gait.pose(phase + before * cadence, self.amplitude[at].flatten())
        yaw = self.yaw[rows, None].expand(n, width).flatten()
        heading = flat["heading"] + yaw + before * flat["turn_rate"]
        back = (before * flat["speed"])[:, None] * torch.stack([heading.cos(), heading.sin()], dim=1)
        xy = self.to_world(self.plans.pos[at].flatten(0, 1), yaw) + back + self.to_world(sway, heading)
        root_pos = torch.cat([xy, height[:, None]], dim=1)
        pos, quat = self.gait.kinematics(root_pos, R.multiply(R.from_yaw(heading), tilt), joint_pos)
        return (
            joint_pos.unflatten(0, (n, width)),
            pos.unflatten(0, (n, width)),
            quat.unflatten(0, (n, width)),
        )

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).clone() for name in STATE}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name in STATE:
            getattr(self, name).copy_(state[name])
        self.window.fill(torch.arange(len(self.step), device=self.step.device), self._frames, self.step)
