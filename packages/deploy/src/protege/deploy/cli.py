"""`protege-deploy`: export a policy, check it, run it. Everything heavy is imported by the command that needs it."""

import click

from . import __version__
from .cli_run import run
from .errors import needs


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="protege-deploy")
def main() -> None:
    """Take a policy to a robot: ONNX with everything inside, and a real-time loop without torch."""


@main.command()
@click.option("--checkpoint", required=True, help="run folder, checkpoint or release")
@click.option("--output", required=True, help="folder; an earlier export in it is replaced")
def export(checkpoint: str, output: str) -> None:
    """Write policy.onnx, policy.json and robot.xml."""
    with needs("export"):
        from .export import export as export_policy
    click.echo(str(export_policy(checkpoint, output)))


@main.command()
@click.argument("folder")
@click.option("--checkpoint", required=True, help="what it was exported from")
@click.option("--num-states", default=1000, show_default=True, type=click.IntRange(min=1))
@click.option("--states", help="states recorded by `run --record`; random ones by default")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def check(folder: str, checkpoint: str, num_states: int, states: str | None, seed: int) -> None:
    """Compare the ONNX model in FOLDER with the policy in torch; fails above 1e-5 rad."""
    with needs("export,cpu"):
        from .check import check as compare
    result = compare(folder, checkpoint, num_states, states, seed)
    click.echo(f"{result.num_states} states: joint targets differ by at most {result.joint_target:.1e} rad")


@main.command()
@click.argument("folder")
def info(folder: str) -> None:
    """Show what FOLDER holds: source, robot, inputs and outputs."""
    from rich.console import Console
    from rich.text import Text

    from .metadata import load

    metadata = load(folder)
    source, console = metadata.source, Console(highlight=False)
    console.print(
        f"{source.kind} of {metadata.robot}: iteration {source.iteration}, {source.samples:,} samples; "
        f"{metadata.num_joints} joints at {1.0 / metadata.control_dt:g} Hz"
    )
    for title, specs in (("inputs", metadata.inputs), ("outputs", metadata.outputs)):
        console.print(f"\n[dim]{title:<21} type     shape           unit   frame[/]")
        for spec in specs:
            shape = " × ".join(["N", *map(str, spec.shape)])
            facts = f" {spec.dtype:<8} {shape:<15} {spec.unit:<6} {spec.frame}"
            console.print(Text.assemble((f"{spec.name:<21}", "bold"), facts.rstrip(), f"\n    {spec.meaning}"))


main.add_command(run)
