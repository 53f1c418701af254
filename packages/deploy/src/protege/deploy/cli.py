"""`protege-deploy`: export a policy, check it, run it. Everything heavy is imported by the command that needs it."""

import click

from . import __version__
from .cli_export import build, check, export, info
from .cli_replay import clip, compare, replay
from .cli_run import run
from .cli_view import view
from .output import Printing


@click.group(cls=Printing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="protege-deploy")
def main() -> None:
    """Take a policy to a robot: ONNX with everything inside, and a real-time loop without torch."""


for command in (export, check, build, info, run, view, replay, compare, clip):
    main.add_command(command)
