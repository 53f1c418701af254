"""`protege-deploy`: export a policy, check it, run it. Everything heavy is imported by the command that needs it."""

import click

from .. import __version__
from .export import build, check, export, info
from .output import Printing
from .replay import clip, compare, replay
from .run import run
from .view import view


@click.group(cls=Printing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="protege-deploy")
def main() -> None:
    """Take a policy to a robot: ONNX with everything inside, and a real-time loop without torch."""


for command in (export, check, build, info, run, view, replay, compare, clip):
    main.add_command(command)
