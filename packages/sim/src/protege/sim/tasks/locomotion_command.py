"""Commands that are plans for walking (a path, a goal, a direction), with a clip warped along them.

Each such task has a subclass in its own file, which draws the plans and defines its clock.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from protege.core.errors import UserError
from protege.core.robots.state import RobotState
from protege.core.tasks import Modality, modalities

from ..references.plans import Plans
from ..references.reference import Reference
from ..references.rows import assign_where, zero_where
from ..references.warp import warped_walks
from .command import Command
from .masks import MaskSampler
from .task import TaskContext
from .terms import Scene

SUBSTEPS = 4
"""Frames per control step of a reference whose clock may run slower or faster."""
PLANS_PER_ENV = 16
"""Ten-second commands, nearly three minutes in all. Only tasks with fewer than `env.num_plans` / 16 envs are affected."""


@dataclass(frozen=True)
class PlanModality(Modality):
    """A modality that follows from any plan: envs of other tasks may show it too.

    Attributes:
        of_plans: maps a command to a function that returns the modality's raw values (n, ...) of its current plans.
    """

    of_plans: Callable[["LocomotionCommand"], Callable[[], dict[str, Tensor]]]


def pool_size(n: int, num_plans: int, *, in_turn: bool) -> int:
    """Number of random commands that are drawn in advance for n envs: `num_plans`, or fewer when training few envs.

    A plan takes half a megabyte, or two with `SUBSTEPS`. In evaluation all are drawn, because none may be used twice.
    """
    return num_plans if in_turn else min(num_plans, PLANS_PER_ENV * n)


class LocomotionCommand(Command):
    """Envs that walk along random plans. Their references stay on the plans, in space and time.

    In evaluations plans are assigned in turn, and none is used twice before all have been used, as the confidence intervals of an
    evaluation assume. In training they are drawn at random.

    Args:
        context: of a task whose modality is a `PlanModality`, which is always shown.
        substeps: frames of the reference per control step.
    """

    saved_state = (*Command.saved_state, "plan", "substep")
    returns = True

    def __init__(self, context: TaskContext, substeps: int = 1) -> None:
        n, device, config, own = context.n, context.device, context.config, context.task.modality
        self.params, self.dt, self.generator = context.params, context.robot.control_dt, context.generator
        self.in_turn, self.name, self.gaits = context.evaluation, context.task.name, context.gaits()
        self.episode_steps = round(config.episode_length_s / self.dt)
        self.seen_ahead = max(config.future_frames) + 2
        # Plans are drawn on the CPU, so that a seed gives the same commands on every device.
        cpu = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=self.generator, device=device)))
        self.num_plans = pool_size(n, config.num_plans, in_turn=self.in_turn)
        plans = self.draw_plans(self.num_plans, cpu)
        phase = self.gaits.walk.duration * torch.rand(self.num_plans, generator=cpu)
        yaw = (2.0 * torch.rand(self.num_plans, generator=cpu) - 1.0) * torch.pi
        self.plans = plans.turned(yaw).to(device)
        steps = int(plans.last_step.max()) + max(config.future_frames) + 1
        table = warped_walks(self.gaits, self.plans, phase.to(device), steps, self.dt, substeps=substeps)
        self.frames = substeps * steps
        self.reference = Reference(n, table, substeps, config.future_frames)
        self.now = torch.zeros(1, dtype=torch.long, device=device)
        self.plan = (torch.arange(n, device=device) - n) % self.num_plans  # in turn, plan i is env i's first
        self.step = torch.zeros(n, dtype=torch.long, device=device)
        self.last_step = torch.zeros(n, dtype=torch.long, device=device)
        self.substep = torch.zeros(n, dtype=torch.long, device=device)  # elapsed frames of the plan's current step
        self.masks = MaskSampler.of(context)
        self.pose_mask = self.masks.none(n)
        # A mixed env observes its own command and, each with probability 1/2, the others that its plan implies.
        implied = {name: modality for name, modality in modalities().items() if isinstance(modality, PlanModality)}
        assert isinstance(own, PlanModality)
        self.own, self.others = own.name, [name for name in implied if name != own.name]
        self.mix = config.mix_probability if context.task.mixes else 0.0
        names = [self.own, *self.others] if self.mix > 0.0 else [self.own]
        self.shown: Mapping[str, Tensor] = {name: torch.zeros(n, dtype=torch.bool, device=device) for name in names}
        self._modalities = [implied[name] for name in names]
        self._values = [modality.of_plans(self) for modality in self._modalities]

    def twin(self, n: int, generator: torch.Generator) -> Self:
        twin = super().twin(n, generator)
        twin._values = [modality.of_plans(twin) for modality in self._modalities]
        return twin

    @abstractmethod
    def draw_plans(self, count: int, generator: torch.Generator) -> Plans:
        """Random commands, long enough for an episode plus `seen_ahead` steps.

        Raises:
            UserError: the parameters demand speeds that the gaits do not cover.
        """

    def inputs(self) -> dict[str, Tensor]:
        return {name: value for values in self._values for name, value in values().items()}

    def reset(self, mask: Tensor) -> RobotState:
        n, reference = len(mask), self.reference
        draws = torch.rand(n, 3 + len(self.others), device=mask.device, generator=self.generator)
        count = self.num_plans
        plan = (self.plan + n) % count if self.in_turn else (draws[:, 0] * count).long()
        assign_where(self.plan, mask, plan)
        for x in (self.step, self.substep, reference.shift):
            zero_where(x, mask)
        assign_where(self.last_step, mask, self.plans.last_step[plan])
        assign_where(reference.index, mask, self.frames * plan)
        assign_where(reference.last, mask, self.last_frame(plan))
        shown = (draws[:, 1:2] < self.mix) & (draws[:, 2:] < 0.5)
        assign_where(self.pose_mask, mask, self.masks.sample(n, self.generator) & shown[:, :1, None])
        columns = {self.own: torch.ones_like(mask)} | dict(zip(self.others, shown[:, 1:].unbind(dim=1), strict=True))
        for name, x in self.shown.items():
            assign_where(x, mask, columns[name])
        return reference.now()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if int(state["plan"].max()) >= self.num_plans:
            raise UserError(
                f"the checkpoint's {self.name} envs are at commands of a larger pool than {self.num_plans}",
                "Start anew from its weights: --checkpoint FILE with another --experiment-name",
            )
        super().load_state_dict(state)

    def last_frame(self, plan: Tensor) -> Tensor:
        """(n,) the last visible frame of each plan."""
        return self.frames * (plan + 1) - 1

    def advance(self, state: RobotState) -> None:
        reference = self.reference
        frames = self.pace(state)
        self.substep += frames
        self.step += self.substep // reference.stride
        self.substep %= reference.stride
        reference.advance(frames)

    def clamp_to_plan(self) -> None:
        self.step.clamp_max_(self.plans.steps - 1)

    def pace(self, state: RobotState) -> Tensor:
        """(n,) number of plan frames in this control step."""
        return torch.full_like(self.substep, self.reference.stride)

    def point_w(self) -> Tensor:
        """Current point of the plan, (n, 2) m."""
        return self.points_w(self.now)[:, 0]

    def reference_point_w(self) -> Tensor:
        """Where the reference has the current point of the plan, (n, 2) m: with a pushed robot, beside the plan."""
        point, placement = self.point_w(), self.reference.placement
        return point if placement is None else placement.placed_points(point)

    def points_w(self, ahead: Tensor) -> Tensor:
        """Points of the plan `ahead` (P,) control steps later, (n, P, 2) m."""
        return self.plans.pos[self.plan[:, None], (self.step[:, None] + ahead).clamp_max(self.plans.steps - 1)]

    def end_w(self) -> Tensor:
        """End of the plan, (n, 2) m."""
        return self.plans.end[self.plan]

    def time_left(self) -> Tensor:
        """Time until the plan ends, (n,) s."""
        return (self.last_step - self.step) * self.dt

    def direction_and_speed(self) -> tuple[Tensor, Tensor]:
        """Commanded direction (n, 2), a unit vector, and speed (n,) m/s."""
        angle = self.plans.direction[self.plan, self.step]
        return torch.stack([angle.cos(), angle.sin()], dim=-1), self.plans.commanded_speed[self.plan, self.step]

    def settled(self) -> Tensor:
        """(n,) bool: whether the last change of command is long enough ago for errors to count."""
        return self.plans.settled[self.plan, self.step]


def locomotion(scene: Scene) -> LocomotionCommand:
    """The command of a scene in which robots walk along plans."""
    assert isinstance(scene.command, LocomotionCommand)
    return scene.command
