"""`protege-deploy`: export a policy, check it, run it. Everything heavy is imported by the command that needs it."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import numpy as np

from . import __version__
from .errors import DeployError, needs
from .interface import MODALITIES as TASKS

if TYPE_CHECKING:
    from .commands import MeasuredCommand
    from .interface import RobotReading
    from .metadata import Metadata
    from .robots.mujoco import MujocoRobot
    from .runtime import OnnxPolicy


class Finite(click.FloatRange):
    """A number that is one: Python reads `nan` and `inf` as floats too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


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
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
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
    from rich.text import Text

    from .metadata import load

    metadata = load(folder)
    source, console = metadata.source, Console(highlight=False)
    console.print(
        f"{source.kind} of {metadata.robot}: iteration {source.iteration}, {source.samples:,} samples; "
        f"{metadata.num_joints} joints at {1.0 / metadata.control_dt:g} Hz"
    )
    for title, specs in (("inputs", metadata.inputs), ("outputs", metadata.outputs)):
        console.print(f"\n[dim]{title:<21} type     shape           unit   frame[/]")
        for spec in specs:
            shape = " × ".join(["N", *map(str, spec.shape)])
            facts = f" {spec.dtype:<8} {shape:<15} {spec.unit:<6} {spec.frame}"
            console.print(Text.assemble((f"{spec.name:<21}", "bold"), facts.rstrip(), f"\n    {spec.meaning}"))


@main.command()
@click.argument("folder")
@click.option("--task", type=click.Choice([*TASKS, "motion"]), help="by default the first that it takes")
@click.option("--motion-file", help="the clip that motion tracks: a .npy, or the name of one that a package ships")
@click.option(
    "--seconds", default=10.0, show_default=True, type=Finite(0.1, 86400.0), help="a motion ends with its clip"
)
@click.option("--speed", default=1.0, show_default=True, type=Finite(0.0), help="m/s, of path and steering")
@click.option("--turn-rate", default=0.0, show_default=True, type=Finite(), help="rad/s, of path")
@click.option("--seed", type=click.IntRange(min=0), help="a random path")
@click.option("--goal", nargs=2, type=Finite(), default=(3.0, 0.0), show_default=True, help="m ahead, m to the left")
@click.option("--direction", default=0.0, show_default=True, type=Finite(), help="degrees to the left, of steering")
@click.option("--realtime/--fast", default=True, show_default=True, help="at the control rate, or at once")
@click.option("--standing", is_flag=True, help="start at rest instead of in motion")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="of ONNX Runtime")
@click.option("--provider", default="cpu", show_default=True, help="cpu, cuda or tensorrt")
@click.option("--report", help="write the measurements as JSON")
@click.option("--record", help="write the model's inputs of every step as .npz, for `check --states`")
def run(
    folder: str,
    task: str | None,
    motion_file: str | None,
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
    task = _task(task, motion_file, policy)
    if task == "motion":
        command, seconds = _motion(str(motion_file), policy, robot, seconds, standing=standing)
    else:
        command = _command(task, robot.read(), seconds, policy.metadata, **options)
    inputs: list[dict[str, np.ndarray]] = []
    if record:
        policy.on_inputs = inputs.append
    result = run_closed_loop(policy, robot, command, seconds, realtime=realtime)
    if report:
        _write(Path(report), lambda file: file.write(_json(result).encode()))
    if record:
        states = {name: np.concatenate([step[name] for step in inputs]) for name in inputs[0]}
        _write(Path(record), lambda file: np.savez(file, **states))  # pyright: ignore[reportArgumentType]
    _show(result)


def _task(task: str | None, motion_file: str | None, policy: "OnnxPolicy") -> str:
    """What to run: what was asked for, or the first that the policy takes."""
    commands = [name for name in policy.modalities if name != "poses"]
    offered = policy.modes
    chosen = task or ("motion" if motion_file else next(iter(offered), ""))
    if chosen in commands and policy.needs_poses:
        raise DeployError(
            f"this policy takes a {chosen} only together with poses",
            f"Add --task motion --motion-file CLIP: the {chosen} is then the clip's",
        )
    if chosen not in offered:
        raise DeployError(f"this policy takes no {chosen or 'command'}", f"It takes {', '.join(offered) or 'none'}")
    if chosen == "motion" and not motion_file:
        raise DeployError("motion needs a clip", "Add --motion-file data/motions/smpl_humanoid_walk.npy, or another")
    if chosen != "motion" and motion_file:
        raise DeployError(f"--motion-file does not go with --task {chosen}", "Take --task motion")
    return chosen


def _motion(
    path: str, policy: "OnnxPolicy", robot: "MujocoRobot", seconds: float, *, standing: bool
) -> "tuple[MeasuredCommand, float]":
    """The command to track a clip, and for how long, s. The robot begins in its first pose, or the clip where it stands."""
    from .clips import load_clip
    from .motion import MotionCommand

    clip = load_clip(path, policy.metadata.num_joints)
    if not standing:
        robot.reset(clip.placed(np.zeros(2), 0.0).start())
    reading = robot.read()
    clip = clip.placed(reading.root_pos_w[:2], reading.yaw)
    also = policy.modalities if policy.needs_poses else []
    return MotionCommand(clip, robot.body_poses, policy.metadata, also), min(seconds, clip.duration)


def _command(
    task: str,
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

    if task == "goal":
        return GoalCommand.ahead(reading, goal)
    if task == "steering":
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


def _json(result: Any) -> str:
    """As JSON, which has no NaN: null stands for it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(x) for key, x in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(result), indent=2, allow_nan=False)


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
