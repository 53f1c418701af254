"""`protege-deploy export`, `check`, `info` and `build`."""

from typing import TYPE_CHECKING

import click

from ..errors import needs
from ..policy.metadata import PRECISIONS
from ..policy.properties import PROPERTY_STYLES
from .options import provider_option

if TYPE_CHECKING:
    from ..policy.metadata import Metadata

RUNTIMES = {"mjlab": "csv", "holosoma": "json"}
"""The property style of each runtime."""


@click.command()
@click.option("--checkpoint", required=True, help="run folder, checkpoint or release")
@click.option("--output", required=True, help="folder; an earlier export in it is replaced")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True, help="precision of the network"
)
@click.option("--batch", type=click.IntRange(min=1), help="fixed number of robots per call; by default any number")
@click.option(
    "--properties", type=click.Choice([*RUNTIMES, *PROPERTY_STYLES]), default="mjlab", show_default=True,
    help="style for a runtime: mjlab (csv) or holosoma (json, and holosoma.onnx with its observations); csv or json alone",
)  # fmt: skip
@click.option("--states", help="for fp16 and int8: states recorded by `run --record`; by default recorded now")
def export(
    checkpoint: str, output: str, precision: str, batch: int | None, properties: str, states: str | None
) -> None:
    """Write policy.onnx, policy.json and robot.xml."""
    with needs("export"):
        from ..export.export import Variant
        from ..export.export import export as export_policy
    if properties == "holosoma":
        from ..export.holosoma import write_holosoma
    folder = export_policy(checkpoint, output, Variant(precision, batch, RUNTIMES.get(properties, properties), states))
    click.echo(str(folder))
    if properties == "holosoma":
        path, steps = write_holosoma(checkpoint, folder)
        click.echo(f"{path}: for history_length_dict {{actor_obs: {steps}}}")
    if precision != "fp32":
        from ..policy.metadata import load

        click.echo(_accuracy(load(folder)))


@click.command()
@click.argument("folder")
@click.option("--checkpoint", required=True, help="the checkpoint that was exported")
@click.option(
    "--num-states", default=1000, show_default=True, type=click.IntRange(min=1), help="number of states to compare"
)
@click.option("--states", help="random, recorded (in closed loops, now), or a file that `run --record` wrote")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="seed of the states")
@provider_option
def check(folder: str, checkpoint: str, num_states: int, states: str | None, seed: int, provider: str) -> None:
    """Compare the ONNX model in FOLDER with the policy in torch.

    Fails if targets differ by more than 1e-5 rad, in fp32 on a CPU.
    """
    with needs("export,cpu"):
        from ..export.check import check as compare
    result = compare(folder, checkpoint, num_states, states, seed, provider)
    click.echo(f"{result.num_states} states: joint targets differ by at most {result.joint_target:.1e} rad")


@click.command()
@click.argument("folder")
def info(folder: str) -> None:
    """Show the source, robot, inputs and outputs of an export."""
    from rich.console import Console
    from rich.text import Text

    from ..policy.metadata import load

    metadata = load(folder)
    source, console = metadata.source, Console(highlight=False, markup=False, emoji=False)
    console.print(
        f"{source.kind} of {metadata.robot}: iteration {source.iteration}, {source.samples:,} samples; "
        f"{metadata.num_joints} joints at {1.0 / metadata.control_dt:g} Hz"
    )
    console.print(f"    {_accuracy(metadata)}")
    for loop in metadata.closed_loop:
        error = "" if loop.error is None else f", error {loop.error:.3f} {loop.error_unit}"
        low, high = loop.success_ci
        shares = f"{loop.success:.1%} [{low:.1%}, {high:.1%}]"
        console.print(f"    {loop.task} in {loop.simulator}: success {shares} of {loop.episodes}{error}")
    for title, specs in (("inputs", metadata.inputs), ("outputs", metadata.outputs)):
        console.print(f"\n{title:<21} type     shape           unit   frame", style="dim")
        for spec in specs:
            shape = " × ".join([str(metadata.batch or "N"), *map(str, spec.shape)])
            facts = f" {spec.dtype:<8} {shape:<15} {spec.unit:<6} {spec.frame}"
            console.print(Text.assemble((f"{spec.name:<21}", "bold"), facts.rstrip(), f"\n    {spec.meaning}"))


def _accuracy(metadata: "Metadata") -> str:
    """The precision and its error."""
    seen = metadata.accuracy
    if seen is None:
        return metadata.precision
    return (
        f"{metadata.precision}: off fp32 by {seen.mean:.1e} rad, p99 {seen.p99:.1e}, "
        f"max {seen.max:.1e}, on {seen.states} states"
    )


@click.command()
@click.option("--checkpoint", required=True, help="run folder, checkpoint or release")
@click.option("--output", required=True, help="file of the exported torch program")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(min=1), help="robots per call")
def build(checkpoint: str, output: str, batch: int) -> None:
    """Compile a policy with torch-tensorrt for this machine's GPU.

    The result is a program for torch.
    """
    with needs("export"):
        from ..export.tensorrt import build as build_program
    click.echo(str(build_program(checkpoint, output, batch)))
