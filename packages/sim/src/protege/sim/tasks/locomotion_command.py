"""Commands that are plans for walking: go along here, be there by then, go that way; with a clip warped to obey them.

Each such task has a subclass in its own file, which draws the plans and says what its clock does.
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
from ..references.reference import Reference, clear, keep
from ..references.warp import warped_walks
from .command import Command
from .masked_mimic import MaskSampler
from .task import TaskContext
from .terms import Scene

SUBSTEPS = 4
"""Frames a control step of a reference whose clock may go slower or faster."""
PLANS_PER_ENV = 16
"""Ten-second commands of nearly three minutes. It matters only to tasks of fewer than `env.num_plans` / 16 envs."""


@dataclass(frozen=True)
class PlanModality(Modality):
    """A modality that every plan implies: envs of other tasks may show it too.

    Attributes:
        of_plans: a command -> what gives the modality's raw values (n, ...) of its plans now.
    """

    of_plans: Callable[["LocomotionCommand"], Callable[[], dict[str, Tensor]]]


def pool_size(n: int, num_plans: int, *, in_turn: bool) -> int:
    """How many random commands are drawn ahead for n envs: `num_plans`, or in training of few envs fewer.

    A plan takes half a megabyte, one that is stored in `SUBSTEPS` two. In evaluation all are drawn, since none may come twice.
    """
    return num_plans if in_turn else min(num_plans, PLANS_PER_ENV * n)


class LocomotionCommand(Command):
    """Envs that walk along random plans. Their references stay where the plans are, and keep their time.

    In evaluations plans are dealt out one after the other, none twice before all have been, as an evaluation's intervals suppose;
    else they are drawn at random.

    Args:
        context: of a task whose modality is a `PlanModality`, which is always shown.
        substeps: frames of the reference in a control step.
    """

    kept = (*Command.kept, "plan", "substep")

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
        self.substep = torch.zeros(n, dtype=torch.long, device=device)  # frames of the plan's step that are over
        self.masks = MaskSampler.of(context)
        self.pose_mask = self.masks.none(n)
        # A mixed env sees its own command and, each by the toss of a coin, the others that its plan implies.
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
        """Random commands, long enough for an episode and `seen_ahead` steps more.

        Raises:
            UserError: the parameters ask for speeds that the gaits cannot do.
        """

    def inputs(self) -> dict[str, Tensor]:
        return {name: value for values in self._values for name, value in values().items()}

    def reset(self, mask: Tensor) -> RobotState:
        n, reference = len(mask), self.reference
        draws = torch.rand(n, 3 + len(self.others), device=mask.device, generator=self.generator)
        count = self.num_plans
        plan = (self.plan + n) % count if self.in_turn else (draws[:, 0] * count).long()
        keep(self.plan, mask, plan)
        for x in (self.step, self.substep, reference.shift):
            clear(x, mask)
        keep(self.last_step, mask, self.plans.last_step[plan])
        keep(reference.index, mask, self.frames * plan)
        keep(reference.last, mask, self.last_frame(plan))
        shown = (draws[:, 1:2] < self.mix) & (draws[:, 2:] < 0.5)
        keep(self.pose_mask, mask, self.masks.sample(n, self.generator) & shown[:, :1, None])
        columns = {self.own: torch.ones_like(mask)} | dict(zip(self.others, shown[:, 1:].unbind(dim=1), strict=True))
        for name, x in self.shown.items():
            keep(x, mask, columns[name])
        return reference.now()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if int(state["plan"].max()) >= self.num_plans:
            raise UserError(
                f"the checkpoint's {self.name} envs are at commands of a larger pool than {self.num_plans}",
                "Start anew from its weights: --checkpoint FILE with another --experiment-name",
            )
        super().load_state_dict(state)

    def last_frame(self, plan: Tensor) -> Tensor:
        """(n,) the last frame of each plan that is seen."""
        return self.frames * (plan + 1) - 1

    def advance(self, state: RobotState) -> None:
        reference = self.reference
        frames = self.pace(state)
        self.substep += frames
        self.step += self.substep // reference.stride
        self.substep %= reference.stride
        reference.advance(frames)

    def stay(self) -> None:
        self.step.clamp_max_(self.plans.steps - 1)

    def pace(self, state: RobotState) -> Tensor:
        """(n,) how many frames of the plan this control step is."""
        return torch.full_like(self.substep, self.reference.stride)

    def point_w(self) -> Tensor:
        """Where the plan is now, (n, 2) m."""
        return self.points_w(self.now)[:, 0]

    def points_w(self, ahead: Tensor) -> Tensor:
        """Where the plan is `ahead` (P,) control steps later, (n, P, 2) m."""
        return self.plans.pos[self.plan[:, None], (self.step[:, None] + ahead).clamp_max(self.plans.steps - 1)]

    def end_w(self) -> Tensor:
        """Where the plan ends, (n, 2) m."""
        return self.plans.end[self.plan]

    def time_left(self) -> Tensor:
        """Until the plan ends, (n,) s."""
        return (self.last_step - self.step) * self.dt

    def direction_and_speed(self) -> tuple[Tensor, Tensor]:
        """Commanded direction (n, 2), a unit vector, and speed (n,) m/s."""
        angle = self.plans.direction[self.plan, self.step]
        return torch.stack([angle.cos(), angle.sin()], dim=-1), self.plans.commanded_speed[self.plan, self.step]

    def settled(self) -> Tensor:
        """(n,) bool: the last change of command is long enough ago for errors to count."""
        return self.plans.settled[self.plan, self.step]


def locomotion(scene: Scene) -> LocomotionCommand:
    """The command of a scene in which robots walk along plans."""
    assert isinstance(scene.command, LocomotionCommand)
    return scene.command
