"""`protege sim motions manifest` and `pack`: libraries of many clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from protege.core.errors import UserError

if TYPE_CHECKING:
    from protege.core.runs.manifest import MotionFile


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="the manifest: NAME.yaml or NAME.json")
@click.option(
    "--test-share",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0.0, 1.0),
    help="share of the clips that are for testing",
)
@click.option("--seed", default=0, show_default=True, help="seed of the choice of clips for testing")
def manifest(folder: Path, output: Path, test_share: float, seed: int) -> None:
    """Write a manifest of the clips in FOLDER.

    It lists the clips of FOLDER and its subfolders with their digests. Names of folders become tags.
    """
    from protege.core.runs.manifest import split_up, write_manifest

    listed = split_up(_in_folders(folder), test_share, seed)
    write_manifest(output, listed)
    tests = sum(x.split == "test" for x in listed)
    click.echo(f"{output}  {len(listed)} clips, {tests} of them for testing")


def _in_folders(folder: Path) -> list["MotionFile"]:
    from protege.core.motions import clip_files
    from protege.core.runs.manifest import MotionFile

    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder", "Give the folder of the clips")
    found = list["MotionFile"]()
    for place in [folder, *sorted(x for x in folder.rglob("*") if x.is_dir())]:
        try:
            files = clip_files([place])
        except UserError:  # without clips
            continue
        found += [MotionFile(file, tags=place.relative_to(folder).parts) for file in files]
    if not found:
        raise UserError(f"{folder} holds no clips, nor do its subfolders", "Import some: protege sim motions import")
    return found


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="the packed library: NAME.library")
@click.option(
    "--robot", help="name of a robot, or a robot.yaml; by default the first clip's robot, or the default robot"
)
def pack(sources: Sequence[str], output: Path, robot: str | None) -> None:
    """Pack many clips into one file for --motion-file.

    A SOURCE is a manifest, a folder or a clip. The file opens at once, however many clips it has.
    """
    from protege.core.motions import clip_robot
    from protege.core.motions.packed import SUFFIX
    from protege.core.runs.clip_selection import pack_listed, select

    from .robots import default_robot, get_robot

    if output.suffix != SUFFIX:
        raise UserError(f"{output} is not the name of a packed library", f"Call it {output.with_suffix(SUFFIX).name}")
    listed = select(sources)
    target = get_robot(robot or clip_robot(listed[0].file) or default_robot())
    library = pack_listed(listed, target, output)
    hours = library.counts.sum() / library.rate / 3600.0
    size = output.stat().st_size / 1e9
    click.echo(f"{output}  {len(library.names)} clips, {hours:.2f} h at {library.rate:g} Hz, {size:.2f} GB")
