"""Ablations of the student's losses and of the world model's tracker: runs with one change each, several seeds, equal samples.

Each variant and seed is one training and one evaluation. Finished runs are not repeated. Several processes may share a folder, each
with different `--variant`s; a last call with all variants then writes the tables. With `--at-once 6` six run on the same GPU.

    python scripts/ablation.py --samples 500000 --seeds 3 results/ablation run.num_threads=1
    python scripts/ablation.py --preset distillation/unified_lightweight --teachers full --samples 30000000 results/ablation_full
    python scripts/ablation.py --of tracker --samples 1500000 --seeds 3 results/ablation_tracker
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from protege.core.runs.evaluation import wilson_interval
from protege.core.runs.mps import shared_gpu

PPO_ON, PPO_OFF = ["agent.ppo_start=0"], ["agent.ppo_start=1"]
IMITATION_ONLY = [f"agent.{name}=0" for name in ("kl_weight", "value_distillation_weight", "bounds_loss_weight")]
LOSSES: dict[str, list[str]] = {
    "all five losses": PPO_ON,
    "without PPO": PPO_OFF,
    "without imitation": [*PPO_ON, "agent.distillation_weight=0"],
    "without KL": [*PPO_ON, "agent.kl_weight=0"],
    "without value distillation": [*PPO_ON, "agent.value_distillation_weight=0"],
    "without bounds": [*PPO_ON, "agent.bounds_loss_weight=0"],
    "imitation alone": [*PPO_OFF, *IMITATION_ONLY],
}
"""Overrides of the preset by the variant's name. Without PPO, value distillation affects only the critic."""

WORLD_MODEL: dict[str, list[str]] = {
    "as in the preset": [],
    "with the critic's values after the horizon": ["agent.critic=true"],
    "half the horizon": ["agent.horizon=20"],
    "AdamW instead of Muon": ["agent.muon_rate=0"],
    "model trained on single steps": ["agent.model_window=1"],
    "without averaging the policy": ["agent.average_memory=0"],
    "uniform start frames": ["env.track.adaptive_sampling=0"],
    "without joint errors in the observation": ["model.tokens=[proprioception, poses]"],
    "without noise in imagination": ["agent.imagined_noise=0", "agent.observation_noise=0"],
    "episodes continue after failures": ["agent.failures_end=false"],
}
"""Overrides of `full_body_tracker/world_model` by the variant's name."""
ENSEMBLE = "with an ensemble"


@dataclass(frozen=True)
class Subject:
    """What is trained and changed.

    Attributes:
        group: command group of `protege` with its `train`.
        preset: by default.
        variants: overrides of the preset by the variant's name.
        fixed: overrides of all variants.
        tasks: options of its evaluation.
    """

    group: str
    preset: str
    variants: dict[str, list[str]]
    fixed: list[str]
    tasks: list[str]


SUBJECTS = {
    "student": Subject(
        "distill",
        "distillation/laptop",
        LOSSES,
        ["agent.evaluation_interval=0"],  # the final policy is evaluated, not the best of several
        ["--opt", "distillation/tasks/unified_evaluation"],
    ),
    "tracker": Subject("core", "full_body_tracker/world_model", WORLD_MODEL, [], ["--task", "track"]),
}

NAMES = ("path_follower", "goal_directed", "steering", "masked_mimic")
TEACHERS = {
    "small": {name: f"zoo:small_{name}" for name in NAMES},
    "full": {name: f"zoo:{name}" for name in NAMES},
    "preset": {},
}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option(
    "--of",
    "kind",
    type=click.Choice(list(SUBJECTS)),
    default="student",
    show_default=True,
    help="the student's losses, or the world model's tracker",
)
@click.option("--preset", help="of the trainings  [default: distillation/laptop, full_body_tracker/world_model]")
@click.option(
    "--teachers",
    type=click.Choice(list(TEACHERS)),
    default="small",
    show_default=True,
    help="the student's teachers: of the zoo, or those of the preset",
)
@click.option("--variant", "names", multiple=True, type=click.Choice([*LOSSES, *WORLD_MODEL]), help="default: all")
@click.option("--samples", default=500_000, show_default=True, help="samples of each training")
@click.option("--seeds", default=3, show_default=True, help="number of seeds: 0, 1, ...")
@click.option("--at-once", default=1, show_default=True, help="trainings at the same time, on one GPU or on the CPU")
@click.option("--episodes", default=256, show_default=True, help="episodes of each task's evaluation")
@click.option("--ensemble", multiple=True, help="the student's second path follower, for one more variant with both")
def main(
    folder: Path,
    overrides: tuple[str, ...],
    kind: str,
    preset: str | None,
    teachers: str,
    names: tuple[str, ...],
    samples: int,
    seeds: int,
    at_once: int,
    episodes: int,
    ensemble: tuple[str, ...],
) -> None:
    """Train and evaluate the variants in FOLDER, and write ablation.json and ablation.md there; OVERRIDES apply to all."""
    subject = SUBJECTS[kind]
    every, preset = subject.variants, preset or subject.preset
    if (foreign := set(names) - set(every)) or (ensemble and kind != "student"):
        raise click.BadParameter(f"the {kind} has no variant {', '.join(sorted(foreign)) or ENSEMBLE}")
    teacher_models = [
        f"agent.teacher_models.{name}.checkpoint=[{where}]"
        for name, where in (TEACHERS[teachers] if kind == "student" else {}).items()
    ]
    variants = {name: every[name] for name in names or every}
    if ensemble:
        both = ",".join([TEACHERS[teachers]["path_follower"], *ensemble])
        variants[ENSEMBLE] = [f"agent.teacher_models.path_follower.checkpoint=[{both}]"]
    budget = ["--max-time", "1e9", "run.max_iterations=null", f"run.max_samples={samples}"]
    common = [*budget, *subject.fixed, *teacher_models, *overrides]

    def run(name: str, seed: int) -> None:
        folder_of_run = folder / f"{name.replace(' ', '_')}-{seed}"
        if (folder_of_run / "evaluation" / "evaluation.json").is_file():
            return
        where = ["--results-dir", str(folder), "--experiment-name", folder_of_run.name, "--seed", str(seed)]
        _protege(environment, subject.group, "train", preset, *where, *common, *variants[name])
        _protege(
            environment, "evaluate", "--checkpoint", str(folder_of_run), "--num-episodes", str(episodes), *subject.tasks
        )

    with shared_gpu() if at_once > 1 else nullcontext({}) as environment, ThreadPoolExecutor(at_once) as pool:
        for job in [pool.submit(run, name, seed) for seed in range(seeds) for name in variants]:
            job.result()
    found = {name: results(folder, name) for name in [*every, ENSEMBLE]}
    found = {name: tasks for name, tasks in found.items() if tasks}
    data = {"preset": preset, "samples": samples, "overrides": list(overrides), "variants": found}
    (folder / "ablation.json").write_text(json.dumps(data, indent=2) + "\n")
    (folder / "ablation.md").write_text(table(found))
    click.echo(table(found), nl=False)


def results(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Results by task over all evaluated seeds of a variant: episodes, success with its 95 % interval, and error."""
    runs = sorted(folder.glob(f"{name.replace(' ', '_')}-*/evaluation/evaluation.json"))
    seeds = [json.loads(run.read_text())["tasks"] for run in runs]
    return {task: pooled([seed[task] for seed in seeds]) for task in (seeds[0] if seeds else {})}


def pooled(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """A task's results over several seeds: success over all episodes, and the mean of the seeds' mean errors."""
    count = sum(x["episodes"] for x in seeds)
    passed = sum(round(x["success"] * x["episodes"]) for x in seeds)
    errors = [x["error"] for x in seeds if x["error"] is not None]
    return {
        "seeds": len(seeds),
        "episodes": count,
        "success": passed / count,
        "success_by_seed": [x["success"] for x in seeds],
        "success_interval": list(wilson_interval(passed, count)),
        "error": fmean(errors) if errors else None,
        "error_unit": seeds[0]["error_unit"],
    }


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A Markdown table: success in percent with its interval, and the mean error of each task."""
    tasks = list(next(iter(found.values()), {}))
    lines = ["| variant | seeds |" + "".join(f" {task} |" for task in tasks), "| --- " * (2 + len(tasks)) + "|"]
    for name, results in found.items():
        cells = [name, str(next(iter(results.values()))["seeds"])]
        for x in results.values():
            low, high = x["success_interval"]
            error = "" if x["error"] is None else f", {x['error']:.3f} {x['error_unit']}"
            cells.append(f"{100 * x['success']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]{error}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _protege(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run(["protege", *arguments], check=True, env=os.environ | environment)


if __name__ == "__main__":
    main()
