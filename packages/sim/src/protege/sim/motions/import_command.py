"""The work of `protege sim motions import`, from sources to written clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protege.core.errors import UserError
from protege.core.motions import Clip, save_clip
from protege.core.progress import Progress
from protege.core.robots.robot import Robot

from .importer import clips_in
from .readers import UnknownFormatError, get_reader
from .readers.options import Options
from .source import SourceMotion
from .sources import Found, find_sources
from .workers import in_order


@dataclass
class Report:
    """The results for the files.

    Attributes:
        failed: error messages of files that could not be imported.
        skipped: names of files in folders and archives that are not motions.
    """

    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def import_motions(
    sources: Sequence[str],
    output: Path,
    robot: Robot,
    options: Options,
    names: Sequence[str],
    on_clip: Callable[[Path, SourceMotion, Clip], None],
) -> Report:
    """Import sources into a folder. Files that are named are all written or none; a folder continues after bad files.

    Args:
        sources: files, folders, archives.
        output: folder of the clips.
        robot: whose clips they become.
        options: what the user specifies about the files.
        names: see `find_sources`.
        on_clip: called for each clip that is written.

    Raises:
        UserError: a named source is bad, or two motions have the same name.
    """
    reader = get_reader(options.format) if options.format else None
    found = find_sources(sources, names, reader)
    continues = any(Path(source).is_dir() for source in sources)
    report, taken, waiting = Report(), set[str](), list[tuple[SourceMotion, Clip]]()

    def write(motion: SourceMotion, clip: Clip) -> None:
        on_clip(save_clip(output / f"{clip.name}.npy", clip, robot), motion, clip)

    with Progress("files", len(found)) as progress:
        jobs = (_Job(one.file, one.name, one.given, _contents(one), options, robot) for one in found)
        for done, (file, outcome) in enumerate(zip(found, in_order(_clips, jobs, len(found), robot), strict=True)):
            progress.at(done)
            try:
                if isinstance(outcome, UserError):
                    raise outcome
                if not outcome:
                    report.skipped.append(file.file)
                for motion, clip in outcome:
                    if clip.name in taken:
                        raise UserError(
                            f"there are two clips named {clip.name!r}, one in {file.file}", "Import one after the other"
                        )
                    taken.add(clip.name)
                    if continues:
                        write(motion, clip)
                    else:
                        waiting.append((motion, clip))
            except UserError as error:
                if not continues or file.given:
                    raise
                report.failed.append(str(error))
    for motion, clip in waiting:
        write(motion, clip)
    if not taken and not report.failed:
        which = f" of {len(found)} files, such as {report.skipped[0]}" if report.skipped else ""
        raise UserError(f"no motion in {', '.join(sources)}{which}", "Clips go to --motion-file as they are")
    return report


@dataclass(frozen=True)
class _Job:
    """A file's contents for another process: None for a file to skip, or the error if it cannot be read."""

    file: str
    name: str
    given: bool
    contents: bytes | UserError | None
    options: Options
    robot: Robot


def _contents(file: Found) -> bytes | UserError | None:
    try:
        return None if not file.given and file.is_clip else file.read()
    except UserError as error:
        return error


def _clips(job: _Job) -> list[tuple[SourceMotion, Clip]] | UserError:
    """The clips of a file; empty if it is a clip already or contains no motion, unless the user named it."""
    if job.contents is None or isinstance(job.contents, UserError):
        return job.contents or []
    try:
        return list(clips_in(job.contents, job.file, job.name, job.options, job.robot))
    except UnknownFormatError as error:
        return error if job.given else []
    except UserError as error:
        return error
