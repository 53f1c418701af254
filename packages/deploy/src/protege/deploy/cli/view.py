"""`protege-deploy view`."""

from pathlib import Path

import click

from ..errors import DeployError, needs
from .signals import interruptible


@click.command()
@click.argument("folders", nargs=-1, required=True)
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="port of the page; 0 takes a free one",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="address of the page; 0.0.0.0 admits other machines"
)
@click.option("--motion-file", multiple=True, help="clip to offer, repeatable; by default the shipped ones")
@click.option("--walking", is_flag=True, help="start in motion instead of at rest")
@click.option("--together", is_flag=True, help="all exports side by side, under the same orders and pushes")
@click.option("--seconds", type=click.FloatRange(min=0.0), help="duration; by default until Ctrl-C")
def view(
    folders: tuple[str, ...], port: int, host: str, motion_file: tuple[str, ...], walking: bool, together: bool,
    seconds: float | None,
) -> None:  # fmt: skip
    """Show a simulated humanoid in the browser and steer it.

    The exports in FOLDERS control it.
    """
    with needs("cpu,mujoco,view"):
        from ..viewer.serve import Viewer
    students = {Path(folder).resolve().name: Path(folder) for folder in folders}
    if len(students) < len(folders):
        raise DeployError("two of the exports have the same name", "Rename one of the folders")
    if together and len(students) < 2:
        raise DeployError("--together shows several exports, and there is one", "Name another folder")
    with (
        Viewer(students, host=host, port=port, clips=motion_file, standing=not walking, together=together) as viewer,
        interruptible(viewer.stop),
    ):
        click.echo(f"{viewer.url} (Ctrl-C ends it)")
        viewer.run(seconds)
