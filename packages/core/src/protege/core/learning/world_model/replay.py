"""The replay buffer: the last control steps of all envs, for training the model and for starting imagined episodes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import coordinates

SHARED_ROWS = ("factors", "delay", "sent", "last_action")
"""Rows that belong to no task and that imagined episodes use; see `ImaginableEnv.rows`."""
START_SHARE = 0.25
"""Imagined episodes start in this latest share of the replay, in states that the current policy visits."""


class Replay:
    """A ring buffer of `slots` control steps of N envs.

    Args:
        slots: control steps of each env.
        joints: J.
        rows: example of each env's task state, (n, ...) each, by name; see `ImaginableEnv.rows`.
        num_envs: N.
        device: of all tensors.

    Attributes:
        x: (L, N, 13 + 2 J) states before the step, see `coordinates`.
        target: (L, N, J) servo targets, rad.
        ended: (L, N) bool, the episode ended with the step, so the next slot belongs to another episode.
        rows: (L, n, ...) each, before the step.
        head: index of the next slot to write.
        filled: number of slots that hold steps.
    """

    def __init__(
        self, slots: int, joints: int, num_envs: int, rows: Mapping[str, Tensor], device: torch.device
    ) -> None:
        self.x = torch.zeros(slots, num_envs, coordinates.size(joints), device=device)
        self.target = torch.zeros(slots, num_envs, joints, device=device)
        self.ended = torch.zeros(slots, num_envs, dtype=torch.bool, device=device)
        self.rows = {name: torch.zeros(slots, *x.shape, dtype=x.dtype, device=device) for name, x in rows.items()}
        self.head = self.filled = 0

    @property
    def slots(self) -> int:
        return len(self.x)

    def add(self, x: Tensor, target: Tensor, rows: Mapping[str, Tensor], ended: Tensor) -> None:
        """Add one control step of all envs."""
        for mine, value in ((self.x, x), (self.target, target), (self.ended, ended)):
            mine[self.head].copy_(value)
        for name, mine in self.rows.items():
            mine[self.head].copy_(rows[name])
        self.head, self.filled = (self.head + 1) % self.slots, min(self.filled + 1, self.slots)

    def windows(self, count: int, steps: int, recent: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Sample random windows of consecutive steps.

        Args:
            count: M.
            steps: W, less than `filled`.
            recent: share of windows from the latest quarter; the others come from the whole replay.

        Returns:
            x (W + 1, M, S); target (W, M, J); alive (W, M), 1 until the episode ends, a factor changes, or a push begins, which
            the model cannot predict; and `factors` (M, F), if there are any.
        """
        device, choices = self.x.device, self.filled - steps
        draw, latest, env = torch.rand(3, count, device=device, generator=generator)
        span = torch.where(latest < recent, max(1, choices // 4), choices)
        first = self.head - 1 - steps - (draw * span).long()
        slot = (first + torch.arange(steps + 1, device=device).unsqueeze(1)) % self.slots
        env = (env * self.x.shape[1]).long()
        over = self.ended[slot[:-1], env]
        if "pushed" in self.rows:
            over |= self.rows["pushed"][slot[:-1], env]
        factors = {}
        if "factors" in self.rows:
            of_step = self.rows["factors"][slot[:-1], env]
            factors = {"factors": of_step[0]}
            over |= (of_step != of_step[0]).any(-1)
        windows = {"x": self.x[slot, env], "target": self.target[slot[:-1], env], "alive": (~over).float().cumprod(0)}
        return windows | factors

    def starts(
        self, counts: Mapping[str, int], slices: Mapping[str, slice], generator: torch.Generator, past: int = 0
    ) -> dict[str, Tensor]:
        """Sample recent states of envs with their task states.

        Args:
            counts: number of states for each task, M in total.
            slices: the envs of each task.
            past: H, number of preceding states.

        Returns:
            x (M, S), grouped by task; `past` (H, M, S), newest first, where an episode's first state is repeated if it has fewer
            than H, and `past_actions` (H, M, J), the last action of each, if there is such a row; the rows of each task, by
            `<task>/<name>`; and those `SHARED_ROWS` that exist.
        """
        device, span = self.x.device, max(1, round(START_SHARE * self.filled))
        ages, envs = [], []
        rows: dict[str, Tensor] = {}
        for task, count in counts.items():
            part = slices[task]
            age_draw, env_draw = torch.rand(2, count, device=device, generator=generator)
            age, env = (age_draw * span).long(), (env_draw * (part.stop - part.start)).long()
            ages.append(age)
            envs.append(part.start + env)
            slot = (self.head - 1 - age) % self.slots
            rows |= {name: x[slot, env] for name, x in self.rows.items() if name.startswith(f"{task}/")}
        age, env = torch.cat(ages), torch.cat(envs)
        slot = (self.head - 1 - age) % self.slots
        rows |= {name: self.rows[name][slot, env] for name in SHARED_ROWS if name in self.rows}
        return {"x": self.x[slot, env], **(self._past(age, env, past) if past else {}), **rows}

    def _past(self, age: Tensor, env: Tensor, count: int) -> dict[str, Tensor]:
        """The `count` states before those that are `age` (M,) control steps old, and their actions; see `starts`."""
        slots: list[Tensor] = []
        for _ in range(count):
            before = age + 1
            ended = self.ended[(self.head - 1 - before) % self.slots, env]
            age = torch.where(ended | (before >= self.filled), age, before)
            slots.append((self.head - 1 - age) % self.slots)
        slot = torch.stack(slots)
        actions = {"past_actions": self.rows["last_action"][slot, env]} if "last_action" in self.rows else {}
        return {"past": self.x[slot, env], **actions}

    def state_dict(self) -> dict[str, Any]:
        """The whole replay, for exact resumption."""
        return {
            "x": self.x,
            "target": self.target,
            "ended": self.ended,
            "rows": self.rows,
            "head": self.head,
            "filled": self.filled,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in ("x", "target", "ended"):
            getattr(self, name).copy_(state[name])
        for name, mine in self.rows.items():
            mine.copy_(state["rows"][name])
        self.head, self.filled = int(state["head"]), int(state["filled"])
