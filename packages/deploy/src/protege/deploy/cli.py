"""`protege-deploy`: export a policy, check it, run it. Everything heavy is imported by the command that needs it."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import numpy as np

from . import __version__
from .errors import DeployError, needs

if TYPE_CHECKING:
    from .commands import MeasuredCommand
    from .interface import RobotReading
    from .metadata import Metadata


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="protege-deploy")
def main() -> None:
    """Take a policy to a robot: ONNX with everything inside, and a real-time loop without torch."""


@main.command()
@click.option("--checkpoint", required=True, help="run folder, checkpoint or release")
@click.option("--output", required=True, help="folder; an earlier export in it is replaced")
def export(checkpoint: str, output: str) -> None:
    """Write policy.onnx, policy.json and robot.xml."""
    with needs("export"):
        from .export import export as export_policy
    click.echo(str(export_policy(checkpoint, output)))


@main.command()
@click.argument("folder")
@click.option("--checkpoint", required=True, help="what it was exported from")
@click.option("--num-states", default=1000, show_default=True, type=click.IntRange(min=1))
@click.option("--states", help="states recorded by `run --record`; random ones by default")
@click.option("--seed", default=0, show_default=True)
def check(folder: str, checkpoint: str, num_states: int, states: str | None, seed: int) -> None:
    """Compare the ONNX model in FOLDER with the policy in torch; fails above 1e-5 rad."""
    with needs("export,cpu"):
        from .check import check as compare
    result = compare(folder, checkpoint, num_states, states, seed)
    click.echo(f"{result.num_states} states: joint targets differ by at most {result.joint_target:.1e} rad")


@main.command()
@click.argument("folder")
def info(folder: str) -> None:
    """Show what FOLDER holds: source, robot, inputs and outputs."""
    from rich.console import Console
    from rich.table import Table

    from .metadata import load

    metadata = load(folder)
    source, console = metadata.source, Console()
    console.print(
        f"{source.kind} of {metadata.robot}: iteration {source.iteration}, {source.samples:,} samples; "
        f"{metadata.num_joints} joints at {1.0 / metadata.control_dt:g} Hz"
    )
    for title, specs in (("inputs", metadata.inputs), ("outputs", metadata.outputs)):
        table = Table("name", "type", "shape", "unit", "frame", "meaning", title=title)
        for spec in specs:
            shape = " × ".join(["N", *map(str, spec.shape)])
            table.add_row(spec.name, spec.dtype, shape, spec.unit, spec.frame, spec.meaning)
        console.print(table)


@main.command()
@click.argument("folder")
@click.option("--task", type=click.Choice(["path", "goal", "steering"]), help="by default the first that it takes")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0.1))
@click.option("--speed", default=1.0, show_default=True, help="m/s, of path and steering")
@click.option("--turn-rate", default=0.0, show_default=True, help="rad/s, of path")
@click.option("--seed", type=int, help="a random path")
@click.option("--goal", nargs=2, type=float, default=(3.0, 0.0), show_default=True, help="m ahead, m to the left")
@click.option("--direction", default=0.0, show_default=True, help="degrees to the left, of steering")
@click.option("--realtime/--fast", default=True, show_default=True, help="at the control rate, or at once")
@click.option("--standing", is_flag=True, help="start at rest instead of walking")
@click.option("--threads", default=1, show_default=True, help="of ONNX Runtime")
@click.option("--provider", default="cpu", show_default=True, help="cpu, cuda or tensorrt")
@click.option("--report", help="write the measurements as JSON")
@click.option("--record", help="write the model's inputs of every step as .npz, for `check --states`")
def run(
    folder: str,
    task: str | None,
    seconds: float,
    realtime: bool,
    standing: bool,
    threads: int,
    provider: str,
    report: str | None,
    record: str | None,
    **options: Any,
) -> None:
    """Close the loop with MuJoCo: walk, and measure latency and how well the command is obeyed."""
    from .closed_loop import run_closed_loop
    from .robots.mujoco import MujocoRobot
    from .runtime import OnnxPolicy

    policy, robot = OnnxPolicy(folder, threads, provider), MujocoRobot(folder, standing=standing)
    command = _command(task, policy.modalities, robot.read(), seconds, policy.metadata, **options)
    inputs: list[dict[str, np.ndarray]] = []
    if record:
        policy.on_inputs = inputs.append
    result = run_closed_loop(policy, robot, command, seconds, realtime=realtime)
    if report:
        _write(Path(report), lambda file: file.write(json.dumps(result, indent=2).encode()))
    if record:
        states = {name: np.concatenate([step[name] for step in inputs]) for name in inputs[0]}
        _write(Path(record), lambda file: np.savez(file, **states))  # pyright: ignore[reportArgumentType]
    _show(result)


def _command(
    task: str | None,
    modalities: list[str],
    reading: "RobotReading",
    seconds: float,
    metadata: "Metadata",
    *,
    speed: float,
    turn_rate: float,
    seed: int | None,
    goal: tuple[float, float],
    direction: float,
) -> "MeasuredCommand":
    """The command that the options ask for."""
    from .commands import GoalCommand, PathCommand, SteeringCommand

    known = [name for name in modalities if name != "poses"]
    chosen = task or next(iter(known), None)
    if chosen is None or chosen not in known:
        raise DeployError(
            f"this policy takes no {task or 'path, goal or steering'}", f"It takes {', '.join(modalities)}"
        )
    if chosen == "goal":
        return GoalCommand.ahead(reading, goal)
    if chosen == "steering":
        return SteeringCommand.towards(reading, float(np.radians(direction)), speed)
    if seed is not None:
        return PathCommand.random(reading, seed, seconds, metadata.path_times)
    return PathCommand.steady(reading, speed, turn_rate, seconds, metadata.path_times)


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    except OSError as error:
        raise DeployError(f"cannot write {path} ({error.strerror})", "Choose another path") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _show(result: dict[str, Any]) -> None:
    loop = result["loop"]
    for name, label in (("policy_ms", "policy"), ("cycle_ms", "whole cycle")):
        times = "  ".join(f"{key} {value:.2f}" for key, value in loop[name].items())
        click.echo(f"{label:<12} {times} ms")
    click.echo(f"deadlines    {loop['missed_deadlines']} of {loop['steps']} missed")
    errors = "  ".join(f"{name} {value:.3f}" for name, value in result["errors"].items())
    click.echo(f"motion       {'stood' if result['stood'] else 'fell'}  walked {result['walked_m']:.2f} m  {errors}")
    if loop["watchdog"]:
        click.echo(f"watchdog     {loop['watchdog']}; the last target was held for {loop['held_steps']} steps")
