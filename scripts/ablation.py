"""What each part of the distillation is worth: students that lack one of them, at equal samples.

Each variant is one `protege distill train` and one `protege distill evaluate`; whatever has been finished is not done again.

    python scripts/ablation.py --samples 500000 --episodes 256 results/ablation
"""

import json
import subprocess
from pathlib import Path

import click

VARIANTS: dict[str, list[str]] = {
    "all parts": [],
    "without PPO": ["agent.ppo_start=1"],
    "without KL": ["agent.kl_weight=0"],
    "without value distillation": ["agent.value_distillation_weight=0"],
    "without on-policy states": ["agent.teacher_iterations=1000000000"],
    "without curriculum": ["agent.curriculum=[]", "env.task_mix={path: 1, goal: 1, steering: 1, masked_mimic: 1}"],
}
"""Overrides of the preset by the variant's name."""

SHIPPED = [
    "agent.teacher_models.path_follower.checkpoint=[zoo:small_path_follower]",
    "agent.teacher_models.goal_directed.checkpoint=[zoo:small_goal_directed]",
    "agent.teacher_models.steering.checkpoint=[zoo:small_steering]",
    "agent.teacher_models.masked_mimic.checkpoint=[zoo:small_tracker]",
]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--preset", default="distillation/laptop", show_default=True)
@click.option("--samples", default=500_000, show_default=True, help="of each student's training")
@click.option("--episodes", default=256, show_default=True, help="of each task's evaluation")
@click.option("--seed", default=0, show_default=True)
@click.option("--ensemble", multiple=True, help="a second path follower: one more variant, with both")
def main(
    folder: Path, overrides: tuple[str, ...], preset: str, samples: int, episodes: int, seed: int, ensemble: tuple[str]
) -> None:
    """Train and evaluate the variants in FOLDER with the shipped teachers; OVERRIDES are for all of them."""
    variants = dict(VARIANTS)
    if ensemble:
        both = ",".join(["zoo:small_path_follower", *ensemble])
        variants["with an ensemble"] = [f"agent.teacher_models.path_follower.checkpoint=[{both}]"]
    budget = ["--max-time", "1e9", f"run.max_samples={samples}", "agent.evaluation_interval=0"]
    for name, changes in variants.items():
        run = folder / f"{name.replace(' ', '_')}-{seed}"
        if not (run / "evaluation" / "evaluation.json").is_file():
            where = ["--results-dir", str(folder), "--experiment-name", run.name, "--seed", str(seed)]
            _protege("train", preset, *where, *budget, *SHIPPED, *overrides, *changes)
            options = ["--num-episodes", str(episodes), "--opt", "distillation/tasks/unified_evaluation"]
            _protege("evaluate", "--checkpoint", str(run), *options)
        click.echo(_row(name, run / "evaluation" / "evaluation.json"))


def _protege(*arguments: str) -> None:
    subprocess.run(["protege", "distill", *arguments], check=True)


def _row(name: str, evaluation: Path) -> str:
    """A line of a Markdown table: success in percent and mean error of each task."""
    tasks = json.loads(evaluation.read_text())["tasks"]
    errors = {task: "" if x["error"] is None else f", {x['error']:.3f} {x['error_unit']}" for task, x in tasks.items()}
    return (
        f"| {' | '.join([name, *(f'{task} {100 * x["success"]:.1f} %{errors[task]}' for task, x in tasks.items())])} |"
    )


if __name__ == "__main__":
    main()
