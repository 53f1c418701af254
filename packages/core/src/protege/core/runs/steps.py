"""The steps of a pipeline, read from its preset."""

import hashlib
import re
import shlex
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from .config_layers import each_text
from .plain_yaml import as_yaml

PREFIX = "pipeline/"
OVERRIDE = re.compile(r"[\w+.]+=")
"""How a `key.path=value` begins."""
ROOT = "PIPELINES-FOLDER"
"""Stands for the folder while a value is read as YAML: the folder's own characters are not YAML's."""


@dataclass(frozen=True)
class Learned:
    """What a training step has to show for itself.

    Attributes:
        metric: of metrics.jsonl in `run`; its first value and the mean of its last tenth are compared.
        direction: `up` or `down`.
        factor: how many times it is meant to change; 1 for any change in the right direction. Another factor is for
            metrics that are never negative.
    """

    run: str
    metric: str
    direction: str = "up"
    factor: float = 1.0


@dataclass(frozen=True)
class Step:
    """One command of the umbrella `protege`; `{root}` in its words stands for the pipeline's folder.

    Attributes:
        samples: of a training, about how many transitions it gets in its time on two CPU cores; see `deterministic`.
        spreads: whether it may train on several GPUs.
        gpus: on how many it does, each with a rank that torchrun starts.
    """

    name: str
    command: list[str]
    learned: list[Learned] = field(default_factory=list)
    samples: int | None = None
    spreads: bool = False
    gpus: int = 1

    @property
    def torchrun(self) -> list[str]:
        """Arguments of torchrun where it starts the ranks."""
        return ["--standalone", "--nproc-per-node", str(self.gpus)] if self.gpus > 1 else []

    @property
    def shown(self) -> str:
        """The command as a user would type it."""
        torchrun = ["torchrun", *self.torchrun, "--no-python"] if self.torchrun else []
        return shlex.join([*torchrun, "protege", *self.command])

    @property
    def trains(self) -> bool:
        """Whether it is a `train` command, which goes on from a checkpoint unless it is told `--no-resume`."""
        return self.command[1:2] == ["train"]

    def digest(self) -> str:
        """SHA-256 of the `last.ckpt` that a training would go on from; empty where there is none."""
        options = dict(pairwise(self.command))
        folder = Path(options.get("--results-dir", "results")) / options.get("--experiment-name", "")
        path = folder / "last.ckpt"
        if not (self.trains and path.is_file()):
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_preset(name: str) -> dict[str, Any]:
    """A preset `pipeline/<name>`: its `steps`, and `from_scratch`, the preset that also trains what it takes from the zoo."""
    from .config import read_preset as read

    return read(PREFIX + name)


def load_steps(preset: str, root: Path, robot: str | None = None) -> list[Step]:
    """The steps of a preset `pipeline/<preset>`; `{root}` in them is the folder, `{NAME}` what the preset's `words` say.

    Args:
        robot: whom trainings are of, instead of their presets' robot.
    """
    data = read_preset(preset)
    steps = []
    for item in data["steps"]:
        words = [_filled(str(word), root, data.get("words", {})) for word in item["command"]]
        words += ["--robot", robot] if robot and words[1:2] == ["train"] else []
        learned = [Learned(**{**entry, "run": entry["run"].format(root=root)}) for entry in item.get("learned", [])]
        steps.append(Step(item["name"], words, learned, item.get("samples"), item.get("spreads", False)))
    return steps


def deterministic(preset: str, steps: list[Step]) -> list[Step]:
    """The same steps with budgets of samples instead of seconds, and one thread: the same weights each time on a CPU.

    Raises:
        UserError: the preset does not say how many samples, as those for a GPU do not.
    """
    without = [step.name for step in steps if step.trains and step.samples is None]
    if without:
        raise UserError(
            f"pipeline/{preset} cannot be deterministic: its step {without[0]} has no budget of samples",
            "Take --preset demo or laptop",
        )
    return [replace(step, command=_by_samples(step)) if step.trains else step for step in steps]


def on_gpus(preset: str, steps: list[Step], gpus: int) -> list[Step]:
    """The same steps, those that spread on so many GPUs.

    Raises:
        UserError: the preset has none that does.
    """
    if not any(step.spreads for step in steps):
        raise UserError(f"pipeline/{preset} has no step for several GPUs", "Take --preset gpu")
    return [replace(step, gpus=gpus) if step.spreads else step for step in steps]


def _by_samples(step: Step) -> list[str]:
    options = ["run.max_time=null", f"run.max_samples={step.samples}", "run.num_threads=1", "run.device=cpu"]
    return [*step.command, *options]


def _filled(word: str, root: Path, words: dict[str, str]) -> str:
    """A word of a command with its `{...}` filled in. In the value of a `key=value` the folder is quoted as YAML needs it."""
    if OVERRIDE.match(word) and "{root}" in word:
        key, _, value = word.format(root=ROOT, **words).partition("=")
        data = each_text(yaml.safe_load(value), lambda text: text.replace(ROOT, str(root)))
        return f"{key}={as_yaml(data)}"
    return word.format(root=root, **words)
