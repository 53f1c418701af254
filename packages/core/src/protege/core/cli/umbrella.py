"""`protege`: the commands of all installed packages, and the pipeline that runs them in order."""

import click

from ..plugins import entry_points
from ..runs.pipeline import pipeline
from .doctor import doctor
from .group import Group, main_group


class Umbrella(Group):
    """A group of the entry points of `protege.commands`, each loaded at its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(entry.name for entry in entry_points(group="protege.commands"))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = entry_points(group="protege.commands", name=cmd_name)
        return next(iter(found)).load() if found else super().get_command(ctx, cmd_name)


main = main_group(
    "protege-core",
    "Protégé: train one small humanoid policy from many large teachers, and run it on a robot.",
    Umbrella,
)
main.add_command(pipeline)
main.add_command(doctor)

if __name__ == "__main__":
    main()
