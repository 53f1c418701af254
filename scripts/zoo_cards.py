"""Evaluates the policies of a zoo on all their tasks in each simulator, and rewrites their cards.

    python scripts/zoo_cards.py --episodes 1024 --simulator mujoco --simulator mjwarp

Existing evaluations are not repeated; to repeat one, delete its folder in results/cards.
"""

import subprocess
from pathlib import Path

import click

from protege.teachers.zoo import read_index

SHIPPED = Path(__file__).parents[1] / "packages/teachers/src/protege/teachers/zoo_data"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--zoo", "zoo", default=SHIPPED, type=click.Path(path_type=Path), help="default: the shipped zoo")
@click.option("--episodes", default=1024, show_default=True, help="episodes of each task")
@click.option("--num-envs", default=256, show_default=True)
@click.option("--simulator", "simulators", multiple=True, default=["mujoco", "mjwarp"], show_default=True)
@click.option("--output", default=Path("results/cards"), type=click.Path(path_type=Path), show_default=True)
def main(
    names: tuple[str, ...], zoo: Path, episodes: int, num_envs: int, simulators: tuple[str, ...], output: Path
) -> None:
    """Evaluate NAMES; default: all entries that contain weights."""
    for name in names or [entry.name for entry in read_index(zoo).values() if entry.weights]:
        done = []
        for simulator in simulators:
            folder = output / name / simulator
            done += ["--evaluation", str(folder / "evaluation.json")]
            if not (folder / "evaluation.json").is_file():
                how = ["--simulator", simulator, "--num-episodes", str(episodes), "--num-envs", str(num_envs)]
                _protege("distill", "evaluate", "--checkpoint", str(zoo / name), *how, "--output", str(folder))
        _protege("teachers", "zoo", "card", name, "--zoo", str(zoo), *done)


def _protege(*arguments: str) -> None:
    subprocess.run(["protege", *arguments], check=True)


if __name__ == "__main__":
    main()
