"""What every command offers the env, and what a checkpoint keeps of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from typing import ClassVar, Self

import torch
from torch import Tensor

from protege.core.robots.state import RobotState

from ..references.reference import Reference


class Command(ABC):
    """The commands of the n envs of one task, rows counted from the start of the task's slice.

    All tensors are made once and changed in place, and nothing depends on how many envs are concerned: a CUDA graph can hold it.
    Where a command does not say otherwise, it commands nothing but the reference, plays no clip and learns nothing from failures.

    Attributes:
        carried: whether the reference is carried along with the robot, over the ground.
        kept: names of the tensors, (n, ...) each, that a checkpoint keeps besides the reference's rows and `shown`.
        generator: of its random draws.
        reference: each row's reference motion.
        step: (n,) control steps since the episode began.
        last_step: (n,) the step at which the command is over (a time-out, not a failure).
        pose_mask: (n, K, B) bool, which of the reference's future poses are shown.
        shown: for each modality that it may command, (n,) bool, where it does.
    """

    carried: ClassVar[bool] = False
    kept: ClassVar[tuple[str, ...]] = ("step", "last_step", "pose_mask")
    generator: torch.Generator
    reference: Reference
    step: Tensor
    last_step: Tensor
    pose_mask: Tensor
    shown: Mapping[str, Tensor] = {}

    @abstractmethod
    def reset(self, mask: Tensor) -> RobotState:
        """Draw new commands for the rows where mask (n,) is True; returns the state from which their episodes start, (n, ...)."""

    @abstractmethod
    def advance(self, state: RobotState) -> None:
        """All rows are one control step further; state is the robots' state now."""

    def stay(self) -> None:  # noqa: B027 (most can be asked for longer than they last)
        """Go no further than what was planned. Imagined envs call this after `advance`: they go on when a command is over."""

    def over(self, state: RobotState) -> Tensor:
        """(n,) bool: what was asked for has come to its end, the robots being in `state`. The episode is then cut."""
        return self.step >= self.last_step

    @property
    def clip(self) -> Tensor:
        """(n,) which of the library's clips each row plays, -1 where none."""
        return torch.full_like(self.reference.index, -1)

    def judge(self, failed: Tensor) -> None:  # noqa: B027 (most learn nothing from failures)
        """Called after each control step with the rows that failed in it, (n,) bool, before they are reset."""

    def follow(self) -> None:  # noqa: B027 (most play no clips)
        """Called between two steps when the clips on the device or their shares have changed; see `StreamedLibrary.advance`."""

    def statistics(self) -> list[Tensor]:
        """What `judge` has counted; see `Env.statistics`."""
        return []

    def inputs(self) -> dict[str, Tensor]:
        """The raw values (n, ...) of the modalities in `shown`, by the names in `Modality.inputs`."""
        return {}

    def rows(self) -> dict[str, Tensor]:
        """Where each env is in its command, (n, ...) each, by name."""
        reference = self.reference
        mine = {name: getattr(self, name) for name in self.kept}
        mine |= {f"{name}_mask": mask for name, mask in self.shown.items()}
        return {"index": reference.index, "last": reference.last, "shift": reference.shift, **mine}

    def twin(self, n: int, generator: torch.Generator) -> Self:
        """A command for n other envs by the same tables of references. Its `rows` are zero until they are set.

        Args:
            generator: makes its draws.
        """
        twin, reference = copy(self), copy(self.reference)
        twin.generator = generator
        rows = {name: x.new_zeros(n, *x.shape[1:]) for name, x in self.rows().items()}
        twin.reference = reference
        for name in ("index", "last", "shift"):
            setattr(reference, name, rows[name])
        for name in self.kept:
            setattr(twin, name, rows[name])
        twin.shown = {name: rows[f"{name}_mask"] for name in self.shown}
        return twin

    def state_dict(self) -> dict[str, Tensor]:
        return {name: x.clone() for name, x in self._rows().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, x in self._rows().items():
            x.copy_(state[name])

    def _rows(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: `rows`, and what the command has learned."""
        return self.rows()
