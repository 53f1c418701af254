"""The interface of every command towards the env, and its state in a checkpoint."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from typing import ClassVar, Self

import torch
from torch import Tensor

from protege.core.robots.state import RobotState

from ..references.reference import Reference


class Command(ABC):
    """The commands of the n envs of one task; rows are counted from the start of the task's slice.

    All tensors are created once and changed in place, and nothing depends on the number of affected envs, so that a CUDA graph can
    hold it. By default a command gives only the reference, plays no clip and does not learn from failures.

    Attributes:
        carried: whether the reference moves along with the robot, horizontally.
        returns: whether the reference of a pushed robot faces as the robot does and returns to its place, as a plan's must; if not,
            it goes on beside its place, as a clip may. See `Placement`.
        saved_state: names of the tensors, (n, ...) each, in a checkpoint, besides the reference's rows and `shown`.
        generator: makes its random draws.
        reference: the reference motion of each row.
        step: (n,) control steps since the episode began.
        last_step: (n,) the step at which the command ends (a time-out, not a failure).
        pose_mask: (n, K, B) bool, which future poses of the reference are shown.
        shown: for each modality that it may command, (n,) bool, where it is shown.
    """

    carried: ClassVar[bool] = False
    returns: ClassVar[bool] = False
    saved_state: ClassVar[tuple[str, ...]] = ("step", "last_step", "pose_mask")
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
        """Advance all rows by one control step; state is the robots' current state."""

    def clamp_to_plan(self) -> None:  # noqa: B027 (most can be continued past their end)
        """Do not advance past the end of the plan. Imagined envs call this after `advance`, because they continue past the end."""

    def over(self, state: RobotState) -> Tensor:
        """(n,) bool: the command has ended, with the robots in `state`. The episode is then cut."""
        return self.step >= self.last_step

    @property
    def clip(self) -> Tensor:
        """(n,) index of the library's clip that each row plays, -1 for none."""
        return torch.full_like(self.reference.index, -1)

    @property
    def clip_time(self) -> Tensor:
        """(n,) s since the start of the clip that each row plays, NaN for none."""
        return torch.full(self.reference.index.shape, torch.nan, device=self.reference.index.device)

    def record_failures(self, failed: Tensor) -> None:  # noqa: B027 (most commands do not learn from failures)
        """Record the rows that failed in this control step, (n,) bool. Called before they are reset."""

    def refresh_clips(self) -> None:  # noqa: B027 (most commands play no clips)
        """Called between two steps when the clips on the device or their shares have changed; see `StreamedLibrary.advance`."""

    def statistics(self) -> list[Tensor]:
        """What `record_failures` has counted; see `Env.statistics`."""
        return []

    def inputs(self) -> dict[str, Tensor]:
        """The raw values (n, ...) of the modalities in `shown`, under the names in `Modality.inputs`."""
        return {}

    def rows(self) -> dict[str, Tensor]:
        """Where each env is in its command, (n, ...) each, by name."""
        reference = self.reference
        mine = {name: getattr(self, name) for name in self.saved_state}
        mine |= {f"{name}_mask": mask for name, mask in self.shown.items()}
        placement = {} if reference.placement is None else reference.placement.rows()
        return {"index": reference.index, "last": reference.last, "shift": reference.shift, **placement, **mine}

    def twin(self, n: int, generator: torch.Generator) -> Self:
        """A command for n other envs, with the same tables of references. Its `rows` are zero until they are set.

        Args:
            generator: makes its draws.
        """
        twin, reference = copy(self), copy(self.reference)
        twin.generator = generator
        rows = {name: x.new_zeros(n, *x.shape[1:]) for name, x in self.rows().items()}
        twin.reference = reference
        for name in ("index", "last", "shift"):
            setattr(reference, name, rows[name])
        if reference.placement is not None:
            reference.placement = reference.placement.twin(rows)
        for name in self.saved_state:
            setattr(twin, name, rows[name])
        twin.shown = {name: rows[f"{name}_mask"] for name in self.shown}
        return twin

    def state_dict(self) -> dict[str, Tensor]:
        return {name: x.clone() for name, x in self._rows().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, x in self._rows().items():
            x.copy_(state[name])

    def _rows(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint: `rows`, and what the command has learned."""
        return self.rows()
