"""`protege sim motions`: commands for clips. Each command imports the heavy modules that it needs."""

import json
import math
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from protege.core.cli.group import Group
from protege.core.errors import UserError

from .command_parts import file_options, json_option, print_table, robot_option
from .library_commands import manifest, pack

if TYPE_CHECKING:
    from protege.core.motions import Clip, Finding
    from protege.core.robots.robot import Robot

    from .motions.readers.options import Options
    from .motions.source import SourceMotion


@click.group(cls=Group)
def motions() -> None:
    """Import, inspect, play and export motion clips."""


motions.add_command(manifest)
motions.add_command(pack)


@motions.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--output", default="data/motions", show_default=True, help="folder of the clips")
@robot_option
@file_options("format", "fps", "quat", "up", "unit", "scale", "map", "ground", "source", "licence")
@click.option(
    "--name",
    "names",
    multiple=True,
    help="name of a motion in an archive or folder (repeatable); or a new name for a single file",
)
def import_clips(
    sources: tuple[str, ...], output: str, robot: str | None, options: "Options", names: tuple[str, ...]
) -> None:
    """Convert motion files of any known format into clips.

    A SOURCE is a file, a folder, a zip archive or a wheel.

    Named files are all written or none. A folder is processed to its end: bad files are listed, and the exit code is 2.
    """
    from .motions.import_command import import_motions
    from .motions.readers import READERS

    if len(sources) > 1 and not Path(sources[0]).exists() and (sources[0] in READERS or sources[0].isalnum()):
        options, sources = replace(options, format=sources[0]), sources[1:]  # the older syntax: import FORMAT SOURCE...
    target = _target(robot)

    def report_clip(path: Path, motion: "SourceMotion", clip: "Clip") -> None:
        _warn(clip.name, clip.warnings)
        for remark in motion.remarks:
            click.echo(f"{clip.name}: {remark}", err=True)
        click.echo(f"{path}  {clip.duration:.1f} s")

    report = import_motions(sources, Path(output), target, options, names, report_clip)
    if report.skipped:
        some = ", ".join(report.skipped[:5]) + (", ..." if len(report.skipped) > 5 else "")
        click.echo(f"passed over {len(report.skipped)} files that are clips already or no motions: {some}", err=True)
    if report.failed:
        for line in report.failed:
            click.echo(f"not imported: {line}", err=True)
        raise UserError(
            f"{len(report.failed)} files could not be imported", "They are listed above; all others were imported"
        )


@motions.command("map")
@click.argument("source", metavar="FILE")
@robot_option
@click.option("--output", help="file for the map; by default it is printed")
@file_options("up", "unit", "scale")
def propose_map(source: str, robot: str | None, output: str | None, options: "Options") -> None:
    """Propose a map of FILE's skeleton for `import --map`.

    The map gives the role of each body. Doubts are reported.
    """
    from protege.core.files import write_atomically

    from .motions.map_command import propose_map as propose

    proposed = propose(source, _target(robot), options)
    for remark in proposed.remarks:
        click.echo(remark, err=True)
    if output:
        write_atomically(Path(output), lambda handle: handle.write(proposed.text.encode()))
        click.echo(f"wrote {output}", err=True)
    else:
        click.echo(proposed.text, nl=False)


@motions.command("export")
@click.argument("clip")
@click.option(
    "--format",
    required=True,
    help="mjlab: .npz for its tracking tasks; csv: Unitree's table, xyzw; proto: .motion of ProtoMotions 3",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="file to write, such as walk.npz")
@click.option(
    "--fps", type=click.FloatRange(1.0, 1000.0), help="frames per second; by default 30, for mjlab the control rate"
)
@robot_option
def export_clip(clip: str, format: str, output: Path, fps: float | None, robot: str | None) -> None:
    """Write CLIP in another project's format."""
    from protege.core.motions import load_clip

    from .motions.export import export_clip as write

    target = _target(robot, clip)
    click.echo(write(load_clip(clip, target), target, format, output, fps))


@motions.command("list")
@robot_option
@click.option(
    "--folder",
    default="data/motions",
    show_default=True,
    help="folder of clips, listed in addition to the shipped ones",
)
@json_option
def list_clips(robot: str | None, folder: str, as_json: bool) -> None:
    """List the shipped clips and those in a folder.

    Every command finds shipped clips by name.
    """
    from .motions.catalog import describe

    rows = describe(Path(folder), robot)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    head = ("clip", "robot", "seconds", "frames", "m/s", "cyclic", "where")
    good = [row for row in rows if "problem" not in row]
    print_table([head, *((r["name"], r["robot"], f"{r['duration']:.2f}", r["frames"], f"{r['mean_speed']:.2f}",
                     "yes" if r["cyclic"] else "no", r["where"]) for r in good)])  # fmt: skip
    for row in rows:
        if "problem" in row:
            click.echo(f"{row['name']}: {row['problem']}")
        elif count := len(row["warnings"]):
            click.echo(
                f"{row['name']}: {count} warning{'s' * (count != 1)}; protege sim motions inspect {shlex.quote(row['path'])}"
            )


@motions.command("inspect")
@click.argument("clip")
@robot_option
@json_option
def inspect_clip(clip: str, robot: str | None, as_json: bool) -> None:
    """Show facts about CLIP, measures and a verdict.

    Rate, gaps, heights, sliding feet, joints past their limits, jumps.

    Exit code 2 if the clip has errors: no robot could move like this, and every other command rejects it.
    """
    from protege.core.motions import read_clip
    from protege.core.motions.plausibility import errors

    from .motions.inspect import inspect, summary
    from .motions.verdict import assess, conclusion, head

    target = _target(robot, clip)
    motion = read_clip(clip, target)
    verdict = assess(motion, target)
    wrong = errors(verdict.findings)
    report = None if wrong else inspect(motion, target)  # measures of implausible numbers mean nothing
    if as_json:
        click.echo(json.dumps(asdict(verdict) | (asdict(report) if report else {}), indent=2))
    else:
        measures = [summary(report)] if report else []
        click.echo("\n".join([head(verdict), *measures, conclusion(verdict.findings)]))
    if wrong:
        raise UserError(f"{clip}: {wrong[0].where}", wrong[0].remedy)


@motions.command("attempt")
@click.argument("clip")
@robot_option
@click.option("--seconds", type=click.FloatRange(0.05), help="length of the part to follow; by default the whole clip")
@click.option("--samples", default=128, show_default=True, type=click.IntRange(2), help="control samples per round")
@click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(0), help="threads of physics; 0: one per core"
)
@click.option("--seed", default=0, show_default=True, help="seed of the samples")
@click.option("--output", help="file for a clip of the robot's motion, such as done.npy")
@json_option
def attempt_clip(
    clip: str,
    robot: str | None,
    seconds: float | None,
    samples: int,
    threads: int,
    seed: int,
    output: str | None,
    as_json: bool,
) -> None:
    """Test whether physics allows CLIP.

    Sampling-based control tries to follow it in MuJoCo, without learning.
    """
    from protege.core.motions import load_clip, save_clip

    from .motions.attempt import attempt, summary

    target = _target(robot, clip)
    source = load_clip(clip, target)
    _warn(source.name, source.warnings)
    with click.progressbar(length=1000, label=source.name, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        result = attempt(
            source,
            target,
            seconds=seconds or math.inf,
            samples=samples,
            threads=threads,
            seed=seed,
            progress=lambda share: bar.update(round(1000 * share) - bar.pos),
        )
    if output:
        click.echo(f"wrote {save_clip(output, result.motion)}", err=True)
    numbers = {"clip": result.motion.name, "lost": result.lost, "distance": result.distance.tolist()}
    click.echo(json.dumps(numbers) if as_json else summary(result))


@motions.command()
@click.argument("clip")
@click.option("--output", required=True, help="film.mp4, strip.png, or a folder for separate pictures")
@robot_option
@click.option("--fps", type=click.FloatRange(1.0, 240.0), help="pictures per second; by default 30, for a strip 10")
@click.option("--size", default="640x480", show_default=True, metavar="WxH", help="size of one picture, pixels")
@click.option("--start", default=0.0, show_default=True, type=click.FloatRange(0.0), help="start time, s")
@click.option("--seconds", type=click.FloatRange(0.0), help="length, s; by default to the end, for a strip 1.5")
@click.option("--source", is_flag=True, help="also draw the motion file's own skeleton or robot, before retargeting")
@file_options("format", "fps", "quat", "up", "unit", "scale", "map", "ground", rate="--source-fps")
def play(
    clip: str,
    output: str,
    robot: str | None,
    fps: float | None,
    size: str,
    start: float,
    seconds: float | None,
    source: bool,
    options: "Options",
) -> None:
    """Draw CLIP without physics. For a motion file, the options of `import` describe what the file does not contain."""
    from .motions.play import play as draw
    from .motions.play import robot_of_file

    robot = robot or robot_of_file(clip, options)
    click.echo(draw(clip, output, _target(robot, clip), fps, size, start, seconds, source=source, options=options))


def _target(robot: str | None, clip: str | None = None) -> "Robot":
    """The robot with this name; otherwise the clip's own robot; otherwise the default robot."""
    from protege.core.motions import clip_robot

    from .robots import default_robot, get_robot, has_robot

    own = clip_robot(clip) if clip and not robot else ""
    if own and not has_robot(own):
        raise UserError(
            f"{clip} is a clip of the robot {own}, which is not installed", "Add --robot with its robot.yaml"
        )
    return get_robot(robot or own or default_robot())


def _warn(name: str, findings: Iterable["Finding"]) -> None:
    """Print what is unlikely about a clip, on stderr."""
    for finding in findings:
        click.echo(f"warning: {name}: {finding}", err=True)
