"""The steps of a pipeline, read from its preset."""

import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from .config_layers import each_text
from .plain_yaml import as_yaml

PRESET_PREFIX = "pipeline/"
OVERRIDE_START = re.compile(r"[\w+.]+=")
"""The beginning of `key.path=value`."""
FOLDER_PLACEHOLDER = "PIPELINES-FOLDER"
"""Placeholder for the folder while a value is parsed as YAML, because the folder's name may contain special characters."""


@dataclass(frozen=True)
class LearningCheck:
    """An improvement that is expected of a training step.

    Attributes:
        metric: of metrics.jsonl in `run`; its first value and the mean of its last tenth are compared.
        direction: `up` or `down`.
        factor: expected factor of change; 1 for any change in the right direction. Other factors need a nonnegative metric.
    """

    run: str
    metric: str
    direction: str = "up"
    factor: float = 1.0


@dataclass(frozen=True)
class Step:
    """One command of `protege`. `{root}` in its words is replaced by the pipeline's folder.

    Attributes:
        samples: approximate number of transitions that a training collects in its time on two CPU cores; see `deterministic`.
        spreads: whether it may train on several GPUs.
        gpus: number of GPUs; torchrun starts a rank for each.
        group: consecutive steps of the same group need nothing from each other and run at the same time; empty: alone.
        early: whether its process starts with the stage before, gets ready, and waits for the end of that stage.
        gpu: the GPU to run on, as a number among the visible ones; None: any.
    """

    name: str
    command: list[str]
    learned: list[LearningCheck] = field(default_factory=list)
    samples: int | None = None
    spreads: bool = False
    gpus: int = 1
    group: str = ""
    early: bool = False
    gpu: int | None = None

    @property
    def torchrun(self) -> list[str]:
        """Arguments of torchrun; empty for one GPU."""
        return ["--standalone", "--nproc-per-node", str(self.gpus)] if self.gpus > 1 else []

    @property
    def shown(self) -> str:
        """The command line as a user would type it."""
        torchrun = ["torchrun", *self.torchrun, "--no-python"] if self.torchrun else []
        return shlex.join([*torchrun, "protege", *self.command])

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the command: the GPU that it may see."""
        if self.gpu is None:
            return {}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"CUDA_VISIBLE_DEVICES": visible.split(",")[self.gpu] if visible else str(self.gpu)}

    @property
    def trains(self) -> bool:
        """Whether the command is `train`, which resumes from a checkpoint unless `--no-resume` is given."""
        return self.command[1:2] == ["train"]

    def digest(self) -> str:
        """SHA-256 of the `last.ckpt` that a training would resume from; empty if there is none."""
        options = dict(pairwise(self.command))
        folder = Path(options.get("--results-dir", "results")) / options.get("--experiment-name", "")
        path = folder / "last.ckpt"
        if not (self.trains and path.is_file()):
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_preset(name: str) -> dict[str, Any]:
    """Read a preset `pipeline/<name>`.

    Returns:
        its `steps`; `from_scratch`, the preset that trains the zoo's policies too; and `share_gpu`, whether groups of steps run at
        the same time on a single GPU, too.
    """
    from .config import read_preset as read

    return read(PRESET_PREFIX + name)


def load_steps(preset: str, root: Path, robot: str | None = None, clips: Sequence[str] = ()) -> list[Step]:
    """The steps of a preset `pipeline/<preset>`, with `{root}` replaced by the folder and `{NAME}` by the preset's `words`.

    Args:
        robot: for all trainings, instead of their presets' robot.
        clips: for all trainings, instead of their presets' clips.
    """
    data = read_preset(preset)
    steps = []
    for item in data["steps"]:
        words = [_filled(str(word), root, data.get("words", {})) for word in item["command"]]
        if words[1:2] == ["train"]:
            words += ["--robot", robot] if robot else []
            if clips:
                words = [word for word in words if not word.startswith("run.motion_file=")]
                words += [word for clip in clips for word in ("--motion-file", clip)]
        learned = [
            LearningCheck(**{**entry, "run": entry["run"].format(root=root)}) for entry in item.get("learned", [])
        ]
        steps.append(
            Step(
                item["name"],
                words,
                learned,
                samples=item.get("samples"),
                spreads=item.get("spreads", False),
                group=item.get("group", ""),
                early=item.get("early", False),
            )
        )
    return steps


def stages(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps in order; those that run at the same time are in one list."""
    numbered = [(step.group or number, step) for number, step in enumerate(steps)]
    return [[step for _, step in members] for _, members in groupby(numbered, key=lambda item: item[0])]


def launches(steps: Sequence[Step]) -> list[list[Step]]:
    """The stages whose processes start at the same time, joined: one that starts early joins the stage before."""
    joined: list[list[Step]] = []
    for stage in stages(steps):
        if joined and all(step.early for step in stage):
            joined[-1].extend(stage)
        else:
            joined.append(stage)
    return joined


def deterministic(preset: str, steps: list[Step]) -> list[Step]:
    """The steps with budgets of samples instead of seconds and one thread, which give reproducible weights on a CPU.

    Raises:
        UserError: the preset has no numbers of samples, as those for a GPU.
    """
    without = [step.name for step in steps if step.trains and step.samples is None]
    if without:
        raise UserError(
            f"pipeline/{preset} cannot be deterministic: its step {without[0]} has no budget of samples",
            "Take --preset demo or laptop",
        )
    return [replace(step, command=_by_samples(step)) if step.trains else step for step in steps]


def on_gpus(preset: str, steps: list[Step], gpus: int) -> list[Step]:
    """The steps on a number of GPUs: all of them for a step that spreads, one each for the steps of a group.

    On one GPU the steps of a group run one after the other, and none starts early, unless the preset has `share_gpu`.

    Raises:
        UserError: no step of the preset supports several GPUs.
    """
    if gpus == 1:
        return (
            steps if read_preset(preset).get("share_gpu") else [replace(step, group="", early=False) for step in steps]
        )
    if not any(step.spreads for step in steps):
        raise UserError(f"pipeline/{preset} has no step for several GPUs", "Take --preset gpu")
    steps = [replace(step, gpus=gpus) if step.spreads else step for step in steps]
    placed = [(step, number) for stage in stages(steps) for number, step in enumerate(stage)]
    return [replace(step, gpu=number % gpus) if step.group else step for step, number in placed]


def _by_samples(step: Step) -> list[str]:
    options = ["run.max_time=null", f"run.max_samples={step.samples}", "run.num_threads=1", "run.device=cpu"]
    return [*step.command, *options]


def _filled(word: str, root: Path, words: dict[str, str]) -> str:
    """Fill in `{...}` in a word of a command. In the value of a `key=value` the folder is quoted for YAML."""
    if OVERRIDE_START.match(word) and "{root}" in word:
        key, _, value = word.format(root=FOLDER_PLACEHOLDER, **words).partition("=")
        data = each_text(yaml.safe_load(value), lambda text: text.replace(FOLDER_PLACEHOLDER, str(root)))
        return f"{key}={as_yaml(data)}"
    return word.format(root=root, **words)
