"""Runs of a policy with one weight, which are fast."""

import json
import os
import signal
import time
from pathlib import Path

import torch
from torch import nn
from toy_env import toy_robot

from protege.core.runs.config import Config, RunConfig
from protege.core.runs.run import Run


class Counter:
    """A part with a state."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict:
        return {"count": self.count}

    def load_state_dict(self, state: dict) -> None:
        self.count = state["count"]


def make_run(folder: Path, kind: str = "tracker", **settings) -> Run:
    config = Config({"run": RunConfig(experiment_name="a", results_dir=str(folder), **settings)})
    return Run(config, kind, toy_robot(), {"proprioception": (4,)})


def drive(run: Run, stop_at: int | None = None, size: int = 2, pause: float = 0.0) -> tuple[nn.Linear, Counter]:
    """Iterations that add 1 to a weight and 8 samples."""
    policy, counter = nn.Linear(size, 1, bias=False), Counter()
    nn.init.zeros_(policy.weight)
    with run:
        run.restore({"policy": policy, "counter": counter})
        for iteration in run:
            time.sleep(pause)
            counter.count += 1
            policy.weight.data += 1.0
            run.log({"episode/length": 10.0 * iteration, "loss": torch.rand(()).item()}, samples=8)
            if iteration == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
    return policy, counter


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "a" / "metrics.jsonl").read_text().splitlines()]
