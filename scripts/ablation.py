"""Ablation of the student's losses: students that learn without one of them, with several seeds and equal samples.

Each variant and seed is one `protege distill train` and one `protege distill evaluate`. Finished runs are not repeated. Several
processes may share a folder, each with different `--variant`s; a last call with all variants then writes the tables.

    python scripts/ablation.py --samples 500000 --seeds 3 results/ablation run.num_threads=1
    python scripts/ablation.py --preset distillation/unified_lightweight --teachers full --samples 30000000 results/ablation_full
"""

import json
import subprocess
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from protege.core.runs.evaluation import wilson_interval

PPO_ON, PPO_OFF = ["agent.ppo_start=0"], ["agent.ppo_start=1"]
IMITATION_ONLY = [f"agent.{name}=0" for name in ("kl_weight", "value_distillation_weight", "bounds_loss_weight")]
VARIANTS: dict[str, list[str]] = {
    "all five losses": PPO_ON,
    "without PPO": PPO_OFF,
    "without imitation": [*PPO_ON, "agent.distillation_weight=0"],
    "without KL": [*PPO_ON, "agent.kl_weight=0"],
    "without value distillation": [*PPO_ON, "agent.value_distillation_weight=0"],
    "without bounds": [*PPO_ON, "agent.bounds_loss_weight=0"],
    "imitation alone": [*PPO_OFF, *IMITATION_ONLY],
}
"""Overrides of the preset by the variant's name. Without PPO, value distillation affects only the critic."""

NAMES = ("path_follower", "goal_directed", "steering", "masked_mimic")
TEACHERS = {
    "small": {name: f"zoo:small_{name}" for name in NAMES},
    "full": {name: f"zoo:{name}" for name in NAMES},
    "preset": {},
}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--preset", default="distillation/laptop", show_default=True)
@click.option(
    "--teachers",
    type=click.Choice(list(TEACHERS)),
    default="small",
    show_default=True,
    help="teachers of the zoo, or those of the preset",
)
@click.option("--variant", "names", multiple=True, type=click.Choice(list(VARIANTS)), help="repeatable; default: all")
@click.option("--samples", default=500_000, show_default=True, help="samples of each student's training")
@click.option("--seeds", default=3, show_default=True, help="number of seeds: 0, 1, ...")
@click.option("--episodes", default=256, show_default=True, help="episodes of each task's evaluation")
@click.option("--ensemble", multiple=True, help="a second path follower, for one more variant with both")
def main(
    folder: Path,
    overrides: tuple[str, ...],
    preset: str,
    teachers: str,
    names: tuple[str, ...],
    samples: int,
    seeds: int,
    episodes: int,
    ensemble: tuple[str, ...],
) -> None:
    """Train and evaluate the variants in FOLDER, and write ablation.json and ablation.md there; OVERRIDES apply to all."""
    variants = {name: VARIANTS[name] for name in names or VARIANTS}
    teacher_models = [f"agent.teacher_models.{name}.checkpoint=[{where}]" for name, where in TEACHERS[teachers].items()]
    if ensemble:
        both = ",".join([TEACHERS[teachers]["path_follower"], *ensemble])
        variants["with an ensemble"] = [f"agent.teacher_models.path_follower.checkpoint=[{both}]"]
    budget = ["--max-time", "1e9", "run.max_iterations=null", f"run.max_samples={samples}"]
    for seed in range(seeds):
        for name, changes in variants.items():
            run = folder / f"{name.replace(' ', '_')}-{seed}"
            if not (run / "evaluation" / "evaluation.json").is_file():
                where = ["--results-dir", str(folder), "--experiment-name", run.name, "--seed", str(seed)]
                fixed = ["agent.evaluation_interval=0"]  # the final policy is evaluated, not the best of several
                _protege("train", preset, *where, *budget, *fixed, *teacher_models, *overrides, *changes)
                options = ["--num-episodes", str(episodes), "--opt", "distillation/tasks/unified_evaluation"]
                _protege("evaluate", "--checkpoint", str(run), *options)
    found = {name: results(folder, name) for name in [*VARIANTS, "with an ensemble"]}
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
    lines = ["| student | seeds |" + "".join(f" {task} |" for task in tasks), "| --- " * (2 + len(tasks)) + "|"]
    for name, results in found.items():
        cells = [name, str(next(iter(results.values()))["seeds"])]
        for x in results.values():
            low, high = x["success_interval"]
            error = "" if x["error"] is None else f", {x['error']:.3f} {x['error_unit']}"
            cells.append(f"{100 * x['success']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]{error}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _protege(*arguments: str) -> None:
    subprocess.run(["protege", "distill", *arguments], check=True)


if __name__ == "__main__":
    main()
