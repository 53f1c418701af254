"""The last control steps of all envs: what the model learns from, and where imagined episodes start."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import coordinates

OF_ALL_ENVS = ("factors", "delay", "sent")
"""Rows that are not a task's, and that imagined episodes keep; see `ImaginableEnv.rows`."""
START_SHARE = 0.25
"""Imagined episodes start in this latest share of the replay: in states that the policy of now meets."""


class Replay:
    """A ring of `slots` control steps of N envs.

    Args:
        slots: control steps of each env.
        joints: J.
        rows: where each env is in what it was asked to do, (n, ...) each, by name; see `ImaginableEnv.rows`.
        num_envs: N.
        device: of all tensors.

    Attributes:
        x: (L, N, 13 + 2 J) states before the step, see `coordinates`.
        target: (L, N, J) what the servos were asked for, rad.
        ended: (L, N) bool, the episode ended with the step: the next slot is of another one.
        rows: (L, n, ...) each, before the step.
        head: the slot that is written next.
        filled: how many slots hold steps.
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
        """One control step of all envs."""
        for mine, value in ((self.x, x), (self.target, target), (self.ended, ended)):
            mine[self.head].copy_(value)
        for name, mine in self.rows.items():
            mine[self.head].copy_(rows[name])
        self.head, self.filled = (self.head + 1) % self.slots, min(self.filled + 1, self.slots)

    def windows(self, count: int, steps: int, recent: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Random pieces of envs' histories.

        Args:
            count: M.
            steps: W, fewer than are filled.
            recent: share of windows from the latest quarter; the others come from anywhere.

        Returns:
            x (W + 1, M, S), target (W, M, J), and alive (W, M), 1 until the episode ends or a push begins, which nothing here
            tells; and `factors` (M, F), if there are any.
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
        windows = {"x": self.x[slot, env], "target": self.target[slot[:-1], env], "alive": (~over).float().cumprod(0)}
        if "factors" in self.rows:  # the same all through an episode
            windows["factors"] = self.rows["factors"][slot[0], env]
        return windows

    def starts(
        self, counts: Mapping[str, int], slices: Mapping[str, slice], generator: torch.Generator, past: int = 0
    ) -> dict[str, Tensor]:
        """Recent states of envs and where they are in their tasks.

        Args:
            counts: how many of each task, M together.
            slices: the envs of each task.
            past: H, how many states before them.

        Returns:
            x (M, S), tasks one after the other; `past` (H, M, S), newest first, which goes no further back than the episode does
            (then its first state comes again); for each task its rows, by `<task>/<name>`; and of `OF_ALL_ENVS` what there is.
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
        rows |= {name: self.rows[name][slot, env] for name in OF_ALL_ENVS if name in self.rows}
        return {"x": self.x[slot, env], **({"past": self._past(age, env, past)} if past else {}), **rows}

    def _past(self, age: Tensor, env: Tensor, count: int) -> Tensor:
        """The states before those of some age, (M,) control steps before the latest; see `starts`."""
        states: list[Tensor] = []
        for _ in range(count):
            before = age + 1
            ended = self.ended[(self.head - 1 - before) % self.slots, env]
            age = torch.where(ended | (before >= self.filled), age, before)
            states.append(self.x[(self.head - 1 - age) % self.slots, env])
        return torch.stack(states)

    def state_dict(self) -> dict[str, Any]:
        """All of it, for an exact continuation."""
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
