"""Commands for recorded runs: `replay`, `compare`, `clip`."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ..errors import DeployError
from ..files import write_json, write_whole, writing
from .options import FiniteFloat, provider_option, threads_option

if TYPE_CHECKING:
    from ..loop.comparison import Difference

tolerance_option: Callable = click.option(
    "--tolerance",
    default=1e-5,
    show_default=True,
    type=FiniteFloat(0.0),
    help="largest difference of targets that count as equal, rad",
)
report_option: Callable = click.option("--report", help="write the differences as JSON")


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.argument("folder")
@tolerance_option
@threads_option
@provider_option
@report_option
def replay(recording: Path, folder: str, tolerance: float, threads: int, provider: str, report: str | None) -> None:
    """Run the policy in FOLDER on the inputs of RECORDING again.

    Compares the targets with the recorded ones.
    """
    from ..loop import comparison
    from ..loop.recording import load
    from ..policy.onnx_policy import OnnxPolicy

    _show(comparison.replay(OnnxPolicy(folder, threads, provider), load(recording), tolerance), tolerance, report)


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@tolerance_option
@report_option
def compare(first: Path, second: Path, tolerance: float, report: str | None) -> None:
    """Compare two recorded runs step by step.

    Compares the robot's targets, and the path of its root.
    """
    from ..loop import comparison
    from ..loop.recording import load

    _show(comparison.compare(load(first), load(second), tolerance), tolerance, report)


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="file of the clip, such as walk.npy")
def clip(recording: Path, output: Path) -> None:
    """Convert RECORDING to a motion clip.

    `protege sim motions play` renders it as a film.
    """
    from ..loop.recording import load
    from ..motions.clip_file import Facts, Motion, clip_path, write_clip
    from ..motions.clip_paths import ClipError

    run = load(recording)
    columns, names = run.columns, tuple(run.facts["joint_names"])
    time, pos, quat, joint_pos = (columns[name] for name in ("time", "root_pos_w", "root_quat_w", "joint_pos"))
    if not np.isfinite(pos).all():
        raise DeployError(f"{recording} is of a robot that does not know where it is", "Record one in simulation")
    unit = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    motion = Motion(
        time, pos, unit, joint_pos, Facts(names, str(run.facts.get("robot", "")), source=f"recording {recording.name}")
    )
    try:
        output = clip_path(output)
    except ClipError as error:
        raise DeployError(error.problem, error.remedy) from error
    with writing(output):
        write_whole(output, lambda file: write_clip(file, motion))
    click.echo(f"{output}  {len(time)} frames")


def _show(found: "Difference", tolerance: float, report: str | None) -> None:
    where = f"step {found.first_step}, {found.first_joint}" if found.first_step is not None else "none"
    click.echo(f"steps        {found.steps}")
    click.echo(f"targets      differ by {found.mean_target:.1e} rad on average, {found.max_target:.1e} at most")
    click.echo(f"first above  {tolerance:.0e} rad: {where}")
    if found.mean_root is not None:
        click.echo(f"root         differs by {found.mean_root:.4f} m on average, {found.max_root:.4f} at most")
    if report:
        write_json(Path(report), asdict(found))
