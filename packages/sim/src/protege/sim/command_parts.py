"""What several commands of `protege sim` share."""

from collections.abc import Callable, Sequence
from functools import wraps

import click

from .columns import columns

robot_option = click.option("--robot", help="a name or a robot.yaml; by default a clip's own, or the default robot")
json_option = click.option("--json", "as_json", is_flag=True, help="for programs")

_ABOUT_FILES = {
    "format": ("--format", {"metavar": "NAME", "help": "of the file; told from its contents by default"}),
    "fps": ("--fps", {"type": click.FloatRange(0.1, 10000.0), "help": "frames a second; by default what the file says"}),
    "quat": ("--quat", {"type": click.Choice(["wxyz", "xyzw"]), "help": "order of quaternions; by default the format's"}),
    "up": ("--up", {"type": click.Choice(["y", "z"]), "help": "axis that points up; by default the format's"}),
    "unit": ("--unit", {"type": click.Choice(["m", "cm", "mm", "inch"]), "help": "of lengths; by default the format's"}),
    "scale": ("--scale", {"default": 1.0, "show_default": True, "type": click.FloatRange(1e-4, 1e4),
                          "help": "of lengths, besides"}),
    "map": ("--map", {"help": "file of the skeleton's roles, see `motions map`; known skeletons need none"}),
    "ground": ("--ground", {"default": "auto", "show_default": True, "type": click.Choice(["auto", "feet", "shift", "none"]),
                            "help": "hold feet that stand; raise all by one amount; or leave it; auto: feet, where there is need"}),
    "source": ("--source", {"default": "", "help": "whom to cite; by default what the file says, or its name and format"}),
    "licence": ("--licence", {"default": "", "help": "under which the motions may be used; by default what the file says"}),
}  # fmt: skip
"""Options that say about a motion file what it does not say, by the field of `motions.readers.options.Options`."""


def file_options(*fields: str, rate: str = "--fps") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command these options, as one argument, `options`.

    Args:
        fields: of `Options`.
        rate: what the option of its frames a second is called.
    """

    def given_to(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: object) -> None:
            from .motions.readers.options import Options

            said: dict[str, object] = {field: given.pop(f"file_{field}") for field in fields}
            command(options=Options(**said), **given)  # pyright: ignore[reportArgumentType]: click has checked them

        wrapped: Callable[..., None] = run
        for field in reversed(fields):
            name, rest = _ABOUT_FILES[field]
            wrapped = click.option(rate if field == "fps" else name, f"file_{field}", **rest)(wrapped)
        return wrapped

    return given_to


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; see `columns`."""
    for line in columns(rows):
        click.echo(line)
