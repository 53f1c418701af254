"""Pipelines whose steps are recorded, not run."""

import json
from pathlib import Path

from tiny_runs import protege

from protege.core.runs.pipeline import Step

STEPS = [
    "tracker",
    "masked_mimic",
    "path_follower",
    "goal_directed",
    "steering",
    "student",
    "evaluation",
    "export",
    "check",
    "closed_loop",
]
"""Steps of the presets laptop and gpu."""
WORLD_MODEL_STEPS = [*STEPS[:5], "imitation", *STEPS[5:]]


def write_metrics(folder: Path, *values: float | None, metric: str = "score", end: str = "\n") -> str:
    """Rows of metrics.jsonl, None for one without the metric. Returns the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"iteration": i} | ({} if x is None else {metric: x}) for i, x in enumerate(values)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + end)
    return str(folder)


class Recorder:
    """Replaces `_run`: records the steps, and stops at the one in `fails` with its exit code.

    A training leaves another last.ckpt, also with 130; with other codes it ends before its first.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fresh: list[str] = []
        self.fails: dict[str, int] = {}
        self.checkpoints = 0

    def __call__(self, steps: list[Step]) -> tuple[list[int], bool]:
        return [self.run(step) for step in steps], False

    def run(self, step: Step) -> int:
        self.names.append(step.name)
        if "--no-resume" in step.command:
            self.fresh.append(step.name)
        code = self.fails.pop(step.name, 0)
        for learned in step.learned if code in (0, 130) else ():
            write_metrics(Path(learned.run), 2.0, 2.0, 2.0, metric=learned.metric)
            self.checkpoints += 1
            (Path(learned.run) / "last.ckpt").write_text(f"checkpoint {self.checkpoints}")
        return code


def refused(result, *named: str) -> None:
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert all(word in result.stderr for word in named), result.stderr


def start(folder: Path, recorder: Recorder, *words: str):
    """Start the pipeline. Returns its result and the steps that were run."""
    recorder.names, recorder.fresh = [], []
    return protege("pipeline", "--results-dir", folder, *words), [*recorder.names]


def saved(folder: Path) -> dict:
    return json.loads((folder / "laptop" / "pipeline.json").read_text())
