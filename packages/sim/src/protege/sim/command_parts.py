"""Options and output that several commands of `protege sim` share."""

from collections.abc import Callable, Sequence
from functools import wraps

import click

from .columns import columns

robot_option = click.option(
    "--robot", help="name of a robot, or a robot.yaml; by default the clip's robot, or the default robot"
)
json_option = click.option("--json", "as_json", is_flag=True, help="print JSON")

_ABOUT_FILES = {
    "format": ("--format", {"metavar": "NAME", "help": "format of the file; by default it is detected from the contents"}),
    "fps": ("--fps", {"type": click.FloatRange(0.1, 10000.0), "help": "frames per second; by default the file's own rate"}),
    "quat": ("--quat", {"type": click.Choice(["wxyz", "xyzw"]), "help": "order of quaternions; by default the format's"}),
    "up": ("--up", {"type": click.Choice(["y", "z"]), "help": "axis that points up; by default the format's"}),
    "unit": ("--unit", {"type": click.Choice(["m", "cm", "mm", "inch"]), "help": "unit of lengths; by default the format's"}),
    "scale": ("--scale", {"default": 1.0, "show_default": True, "type": click.FloatRange(1e-4, 1e4),
                          "help": "factor on lengths, in addition to the unit"}),
    "map": ("--map", {"help": "file with the roles of the skeleton's bodies, see `motions map`; known skeletons need none"}),
    "ground": ("--ground", {"default": "auto", "show_default": True, "type": click.Choice(["auto", "feet", "shift", "none"]),
                            "help": "feet: hold standing feet; shift: raise or lower the whole clip; auto: feet, where needed"}),
    "source": ("--source", {"default": "", "help": "whom to cite; by default what the file says, or its name and format"}),
    "licence": ("--licence", {"default": "", "help": "licence of the motions; by default what the file says"}),
}  # fmt: skip
"""Options that describe a motion file, by the field of `motions.readers.options.Options` that they set."""


def file_options(*fields: str, rate: str = "--fps") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds these options to a command. The command receives them as one argument, `options`.

    Args:
        fields: names of fields of `Options`.
        rate: name of the option for the frame rate.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**arguments: object) -> None:
            from .motions.readers.options import Options

            values: dict[str, object] = {field: arguments.pop(f"file_{field}") for field in fields}
            command(options=Options(**values), **arguments)  # pyright: ignore[reportArgumentType]: click has checked them

        wrapped: Callable[..., None] = run
        for field in reversed(fields):
            name, rest = _ABOUT_FILES[field]
            wrapped = click.option(rate if field == "fps" else name, f"file_{field}", **rest)(wrapped)
        return wrapped

    return decorate


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; see `columns`."""
    for line in columns(rows):
        click.echo(line)
