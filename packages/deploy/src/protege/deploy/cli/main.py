"""`protege-deploy`: export a policy, check it, run it. Large packages are imported by the command that needs them."""

import sys
from io import TextIOWrapper
from typing import Any

import click

from .. import __version__
from .export import build, check, export, info
from .replay import clip, compare, replay
from .run import run
from .simulate import simulate
from .view import view


class EncodingSafeGroup(click.Group):
    """A group whose commands print a question mark for a character that the terminal's encoding lacks, instead of failing."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)


@click.group(cls=EncodingSafeGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="protege-deploy")
def main() -> None:
    """Export policies to ONNX and run them in a real-time loop."""


for command in (export, check, build, info, run, simulate, view, replay, compare, clip):
    main.add_command(command)
