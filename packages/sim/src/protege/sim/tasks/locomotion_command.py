"""Commands that are places and speeds: follow this path, be there by then, go that way; with a clip warped to obey them."""

from typing import Literal

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs
from protege.core.errors import UserError
from protege.core.robots.state import RobotState

from ..env_config import EnvConfig
from ..references.gait_set import GaitSet
from ..references.plans import Plans, plan_goals, plan_paths, plan_steering
from ..references.reference import Reference, keep
from ..references.warp import warped_walks
from .command import Kept
from .masks import MaskSampler
from .path_clock import PathClock
from .path_rules import AHEAD, ARRIVED

Kind = Literal["path", "goal", "steering"]
PATH_TIMES = tuple(0.5 * (k + 1) for k in range(10))
"""How far ahead the path's points are, s."""
MODALITIES: tuple[Kind, ...] = ("path", "goal", "steering")
SUBSTEPS = 4  # frames a control step of a reference whose clock may go slower or faster
PATIENCE = 0.2
"""s, by which its clock may be behind or ahead of time: students that could hold it up for good would learn to dawdle."""
PLANS_PER_ENV = 16
"""Ten-second commands of nearly three minutes. It matters only to tasks of fewer than `env.num_plans` / 16 envs."""
SLOW = 0.04  # m²/s², mean square of the bodies' velocities about the root that says little about a gait


def pool_size(n: int, config: EnvConfig, *, in_turn: bool) -> int:
    """How many random commands are drawn ahead for n envs: `config.num_plans`, or in training of few envs fewer.

    A plan takes half a megabyte, one that follows the gait two. In evaluation all are drawn, since none may come twice.
    """
    return config.num_plans if in_turn else min(config.num_plans, PLANS_PER_ENV * n)


def make_plans(
    kind: Kind, gaits: GaitSet, count: int, config: EnvConfig, dt: float, generator: torch.Generator
) -> Plans:
    """A pool of random commands of a kind, long enough for an episode and what is seen ahead of it.

    Raises:
        UserError: the config asks for speeds that the gaits cannot do.
    """
    last = round(config.episode_length_s / dt)
    ahead = max(config.future_frames) + 2
    if kind == "path":
        gaits.require(config.path_follower_params.speed, "env.path_follower_params.speed")
        steps = last + max(ahead, round(PATH_TIMES[-1] / dt) + 1)
        return plan_paths(count, steps, last, dt, config.path_follower_params, generator)
    if kind == "steering":
        gaits.require(config.steering_params.speed, "env.steering_params.speed")
        return plan_steering(count, last + ahead, last, dt, config.steering_params, generator)
    gaits.require((0.0, config.goal_params.approach_speed), "env.goal_params.approach_speed")
    longest = 2.0 + config.goal_params.distance[1] / config.goal_params.approach_speed
    steps = round(longest / dt) + 1 + ahead
    return plan_goals(count, steps, dt, config.goal_params, generator, gaits.speeds[1])


class LocomotionCommand(Kept):
    """Worlds that walk along random plans of one kind.

    The reference of a steering world is carried along with the robot, since a direction and a speed say nothing about
    where to be; path and goal references stay where they are. Nor do they say which foot is to be where when: with
    `SteeringParams.follow_gait` the plan's clock goes slower for a gait that lags, and faster after one that leads. With
    `PathParams.clock` `waiting` a path's clock waits for the robot, and the path ends at its last step.

    Args:
        n: worlds.
        kind: the modality that is always shown.
        masks: what a mixed world sees of the poses.
        in_turn: plans are dealt out one after the other, none twice before all have been, as an evaluation's intervals suppose;
            else drawn at random.
    """

    kept = (*Kept.kept, "plan", "command_mask", "clock", "substep")

    def __init__(
        self,
        n: int,
        kind: Kind,
        gaits: GaitSet,
        config: EnvConfig,
        dt: float,
        masks: MaskSampler,
        generator: torch.Generator,
        *,
        in_turn: bool = False,
    ) -> None:
        device = gaits.walk.joint_pos.device
        self.kind: Kind = kind
        self.dt, self.masks, self.generator, self.config, self.in_turn = dt, masks, generator, config, in_turn
        # Plans are drawn on the CPU, so that a seed gives the same commands on every device.
        cpu = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator, device=device)))
        self.num_plans = pool_size(n, config, in_turn=in_turn)
        plans = make_plans(kind, gaits, self.num_plans, config, dt, cpu)
        phase = gaits.walk.duration * torch.rand(self.num_plans, generator=cpu)
        yaw = (2.0 * torch.rand(self.num_plans, generator=cpu) - 1.0) * torch.pi
        self.plans = plans.turned(yaw).to(device)
        self.follows_gait = kind == "steering" and config.steering_params.follow_gait
        waits = kind == "path" and config.path_follower_params.clock == "waiting"
        self.path_clock = PathClock(n, SUBSTEPS, dt, device) if waits else None
        substeps = SUBSTEPS if self.follows_gait or waits else 1
        steps = int(plans.last_step.max()) + max(config.future_frames) + 1
        table = warped_walks(gaits, self.plans, phase.to(device), steps, dt, substeps=substeps)
        self.frames = substeps * steps
        self.reference = Reference(n, table, substeps, config.future_frames)
        self.path_steps = (torch.tensor(PATH_TIMES, device=device) / dt).round().long()
        self.now = torch.zeros(1, dtype=torch.long, device=device)
        self.way = torch.tensor([0, round(AHEAD / dt)], device=device)
        self.plan = (torch.arange(n, device=device) - n) % self.num_plans  # in turn, plan i is world i's first
        self.step = torch.zeros(n, dtype=torch.long, device=device)
        self.last_step = torch.zeros(n, dtype=torch.long, device=device)
        self.clock = torch.zeros(n, dtype=torch.long, device=device)  # frames by which the plan's is ahead of time
        self.substep = torch.zeros(n, dtype=torch.long, device=device)  # frames of the plan's step that are over
        poses = (n, len(config.future_frames), gaits.robot.num_bodies)
        self.pose_mask = torch.zeros(poses, dtype=torch.bool, device=device)
        self.command_mask = torch.zeros(n, 3, dtype=torch.bool, device=device)

    def reset(self, mask: Tensor) -> RobotState:
        n, reference = len(mask), self.reference
        draws = torch.rand(n, 5, device=mask.device, generator=self.generator)
        count = self.num_plans
        plan = (self.plan + n) % count if self.in_turn else (draws[:, 0] * count).long()
        keep(self.plan, mask, plan)
        keep(self.step, mask, torch.zeros_like(self.step))
        keep(self.clock, mask, torch.zeros_like(self.clock))
        keep(self.substep, mask, torch.zeros_like(self.substep))
        keep(self.last_step, mask, self.plans.last_step[plan])
        if self.path_clock is not None:
            self.path_clock.reset(mask)
        keep(reference.index, mask, self.frames * plan)
        keep(reference.last, mask, self._last_frame(plan))
        keep(reference.shift, mask, torch.zeros_like(reference.shift))
        # A mixed world sees its own command and, each by the toss of a coin, the others that its plan implies.
        mixed = (draws[:, 1:2] < self.config.mix_probability) & (self.kind != "steering")
        shown = mixed & (draws[:, 2:5] < 0.5)
        keep(self.pose_mask, mask, self.masks.sample(n, self.generator) & shown[:, :1, None])
        others = [m for m in MODALITIES if m != self.kind]
        columns = {self.kind: torch.ones_like(mixed[:, 0]), others[0]: shown[:, 1], others[1]: shown[:, 2]}
        keep(self.command_mask, mask, torch.stack([columns[m] for m in MODALITIES], dim=1))
        return reference.now()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if int(state["plan"].max()) >= self.num_plans:
            raise UserError(
                f"the checkpoint's {self.kind} worlds are at commands of a larger pool than {self.num_plans}",
                "Start anew from its weights: --checkpoint FILE with another --experiment-name",
            )
        super().load_state_dict(state)

    def _last_frame(self, plan: Tensor) -> Tensor:
        """(n,) the last frame of each plan that is seen."""
        if self.path_clock is None:
            return self.frames * (plan + 1) - 1
        return self.frames * plan + self.reference.stride * self.plans.last_step[plan]

    def advance(self, state: RobotState) -> None:
        reference = self.reference
        frames = self._frames(state)
        self.substep += frames
        self.step += self.substep // reference.stride
        self.substep %= reference.stride
        reference.advance(frames)
        if self.kind == "steering":
            planned = reference.table.root_pos_w[reference.index, :2]
            reference.shift[:, :2] = state.root_pos_w[:, :2] - planned

    def _frames(self, state: RobotState) -> Tensor:
        """(n,) how many frames of the plan this control step is."""
        if self.follows_gait:
            return self._follow(state)
        if self.path_clock is None:
            return torch.full_like(self.substep, self.reference.stride)
        here, later = self.path_points(self.way).unbind(dim=1)
        frames = self.path_clock.advance(state.root_pos_w[:, :2] - here, later - here)
        return torch.minimum(frames, self.reference.last - self.reference.index)

    def over(self, state: RobotState) -> Tensor:
        ended = self.step >= self.last_step
        if self.path_clock is None:
            return ended
        return ended & ((state.root_pos_w[:, :2] - self.path_w()).norm(dim=1) < ARRIVED)

    def _follow(self, state: RobotState) -> Tensor:
        """(n,) how many frames of the plan this control step is: as many as there are in one, but for one more or less."""
        reference = self.reference
        lead = gait_lead(state, reference.table[torch.minimum(reference.index + reference.stride, reference.last)])
        late = lead.abs() > 0.5 * self.dt / reference.stride
        clock = self.clock + torch.sign(lead).long() * late
        patience = reference.stride * round(PATIENCE / self.dt)
        clock.clamp_(-patience, patience)
        frames = reference.stride + clock - self.clock
        self.clock.copy_(clock)
        return frames

    def observe(self, state: RobotState) -> Obs:
        mask = self.command_mask
        time_left = (self.last_step - self.step) * self.dt
        direction, speed = self.steering_command()
        facing = direction if self.config.steering_params.obs_size == 5 else None
        values = {
            "path": observations.path(state, self.path_points(self.path_steps)),
            "goal": observations.goal(state, self.goal_w(), time_left),
            "steering": observations.steering(state, direction, speed, facing),
        }
        shown = {
            name: torch.where(mask[:, k].reshape(-1, *[1] * (value.ndim - 1)), value, torch.zeros_like(value))
            for k, (name, value) in enumerate(values.items())
        }
        return {**shown, "command_mask": mask.clone(), "pose_mask": self.pose_mask.clone()}

    def path_w(self) -> Tensor:
        """Where the plan is now, (n, 2) m."""
        return self.path_points(self.now)[:, 0]

    def path_points(self, ahead: Tensor) -> Tensor:
        """Where the plan is `ahead` (P,) control steps later, (n, P, 2) m. With a clock that waits it stays where it ends."""
        plan, steps = self.plan[:, None], self.step[:, None] + ahead
        if self.path_clock is None:
            return self.plans.pos[plan, steps.clamp_max(self.plans.steps - 1)]
        before, after = (self.plans.pos[plan, torch.minimum(x, self.last_step[:, None])] for x in (steps, steps + 1))
        return torch.lerp(before, after, (self.substep / self.reference.stride)[:, None, None])

    def _rows(self) -> dict[str, Tensor]:
        return super()._rows() | (self.path_clock.rows() if self.path_clock is not None else {})

    def goal_w(self) -> Tensor:
        """Where the plan ends, (n, 2) m."""
        return self.plans.goal[self.plan]

    def steering_command(self) -> tuple[Tensor, Tensor]:
        """Commanded direction (n, 2), a unit vector, and speed (n,) m/s."""
        angle = self.plans.direction[self.plan, self.step]
        return torch.stack([angle.cos(), angle.sin()], dim=-1), self.plans.commanded_speed[self.plan, self.step]

    def settled(self) -> Tensor:
        """(n,) bool: the last change of command is long enough ago for errors to count."""
        return self.plans.settled[self.plan, self.step]


def gait_lead(state: RobotState, reference: RobotState) -> Tensor:
    """By how much n robots are ahead of their references in a gait, (n,) s; below zero they lag.

    The time for which the reference's bodies, as seen from its root, would have to go on to be nearest to the robot's (least
    squares), less where they hardly move. Where the robot is does not matter.
    """
    off = (state.body_pos_w - state.root_pos_w[:, None]) - (reference.body_pos_w - reference.root_pos_w[:, None])
    velocity = reference.body_lin_vel_w - reference.root_lin_vel_w[:, None]
    return (off * velocity).sum(-1).mean(-1) / (velocity.square().sum(-1).mean(-1) + SLOW)
