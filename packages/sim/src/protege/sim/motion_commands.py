"""`protege sim motions`: what is done with clips. Everything heavy is imported by the command that needs it."""

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
    """Motion clips: import, export, map, list, inspect, attempt, play; libraries of many."""


motions.add_command(manifest)
motions.add_command(pack)


@motions.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--output", default="data/motions", show_default=True, help="folder of the clips")
@robot_option
@file_options("format", "fps", "quat", "up", "unit", "scale", "map", "ground", "source", "licence")
@click.option(
    "--name", "names", multiple=True, help="which motion of an archive or folder (repeatable); a file's new name"
)
def import_clips(
    sources: tuple[str, ...], output: str, robot: str | None, options: "Options", names: tuple[str, ...]
) -> None:
    """Make clips of a robot from motion files of any known format: files, folders, zip archives, wheels.

    Of files all are written or none. A folder is gone through to its end: bad files are named there, and the exit code is 2.
    """
    from .motions.import_command import import_motions
    from .motions.readers import READERS

    if len(sources) > 1 and not Path(sources[0]).exists() and (sources[0] in READERS or sources[0].isalnum()):
        options, sources = replace(options, format=sources[0]), sources[1:]  # the older form: import FORMAT SOURCE...
    target = _target(robot)

    def said(path: Path, motion: "SourceMotion", clip: "Clip") -> None:
        _warn(clip.name, clip.warnings)
        for remark in motion.remarks:
            click.echo(f"{clip.name}: {remark}", err=True)
        click.echo(f"{path}  {clip.duration:.1f} s")

    report = import_motions(sources, Path(output), target, options, names, said)
    if report.passed_over:
        some = ", ".join(report.passed_over[:5]) + (", ..." if len(report.passed_over) > 5 else "")
        click.echo(
            f"passed over {len(report.passed_over)} files that are clips already or no motions: {some}", err=True
        )
    if report.failed:
        for line in report.failed:
            click.echo(f"not imported: {line}", err=True)
        raise UserError(f"{len(report.failed)} files could not be imported", "They are named above; all others were")


@motions.command("map")
@click.argument("source", metavar="FILE")
@robot_option
@click.option("--output", help="file of the map; it is printed by default")
@file_options("up", "unit", "scale")
def propose_map(source: str, robot: str | None, output: str | None, options: "Options") -> None:
    """Propose a map from FILE's skeleton to the parts that a robot follows, for `import --map`; what is doubtful is said."""
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
    help="mjlab: an .npz of its tracking tasks; csv: Unitree's table, xyzw; proto: a .motion of ProtoMotions 3",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="the file, such as walk.npz")
@click.option("--fps", type=click.FloatRange(1.0, 1000.0), help="frames a second: 30; of mjlab the control rate")
@robot_option
def export_clip(clip: str, format: str, output: Path, fps: float | None, robot: str | None) -> None:
    """Write CLIP in another project's format."""
    from protege.core.motions import load_clip

    from .motions.export import export_clip as write

    target = _target(robot, clip)
    click.echo(write(load_clip(clip, target), target, format, output, fps))


@motions.command("list")
@robot_option
@click.option("--folder", default="data/motions", show_default=True, help="of clips besides those that are shipped")
@json_option
def list_clips(robot: str | None, folder: str, as_json: bool) -> None:
    """Clips that are shipped, which any command finds by their names, and those in a folder."""
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
    """Facts, measures and a verdict: rate, gaps, heights, sliding feet, joints past their limits, jumps.

    Exit code 2 if the clip has errors: no robot could move like this, and every other command refuses it.
    """
    from protege.core.motions import read_clip
    from protege.core.motions.plausibility import errors

    from .motions.inspect import inspect, summary
    from .motions.verdict import conclusion, head, judge

    target = _target(robot, clip)
    motion = read_clip(clip, target)
    verdict = judge(motion, target)
    wrong = errors(verdict.findings)
    report = None if wrong else inspect(motion, target)  # of numbers that are not sane, measures say nothing
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
@click.option("--seconds", type=click.FloatRange(0.05), help="of the clip; all by default")
@click.option(
    "--samples", default=128, show_default=True, type=click.IntRange(2), help="of control, tried in each round"
)
@click.option("--threads", default=0, show_default=True, type=click.IntRange(0), help="0: one a core")
@click.option("--seed", default=0, show_default=True, help="of the samples")
@click.option("--output", help="a clip of what the robot did, such as done.npy, to be played")
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
    """Whether physics allows CLIP: sampled control tries to follow it in MuJoCo, with nothing learned."""
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
@click.option("--output", required=True, help="film.mp4, strip.png, or a folder for single pictures")
@robot_option
@click.option("--fps", type=click.FloatRange(1.0, 240.0), help="pictures a second: 30 by default, 10 of a strip")
@click.option("--size", default="640x480", show_default=True, metavar="WxH", help="of one picture, pixels")
@click.option("--start", default=0.0, show_default=True, type=click.FloatRange(0.0), help="s")
@click.option("--seconds", type=click.FloatRange(0.0), help="how long; to the end by default, 1.5 of a strip")
@click.option(
    "--source", is_flag=True, help="beside it, the motion file's own skeleton or robot, before it was retargeted"
)
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
    """Draw CLIP as it is, without physics. Of a motion file, options say what it does not, as in `import`."""
    from .motions.play import play as draw
    from .motions.play import robot_of_file

    robot = robot or robot_of_file(clip, options)
    click.echo(draw(clip, output, _target(robot, clip), fps, size, start, seconds, source=source, options=options))


def _target(robot: str | None, clip: str | None = None) -> "Robot":
    """The robot of that name, or else a clip's own, or else the default one."""
    from protege.core.motions import clip_robot

    from .robots import default_robot, get_robot, has_robot

    own = clip_robot(clip) if clip and not robot else ""
    if own and not has_robot(own):
        raise UserError(f"{clip} is of the robot {own}, which is not installed", "Add --robot with its robot.yaml")
    return get_robot(robot or own or default_robot())


def _warn(name: str, findings: Iterable["Finding"]) -> None:
    """What is unlikely about a clip, on stderr."""
    for finding in findings:
        click.echo(f"warning: {name}: {finding}", err=True)
