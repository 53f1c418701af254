"""`protege doctor`: what is installed, what works on this machine, and how to get what is missing."""

import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import NamedTuple

import click

from ..plugins import entry_points
from ..terminal import console

GROUP = "protege.doctor"
"""Entry points of packages: functions without arguments that return `Finding`s, or plain tuples like them."""
OK, ABSENT, BROKEN = "ok", "absent", "broken"
MARKS = {OK: ("ok", "green"), ABSENT: ("--", "yellow"), BROKEN: ("!!", "red")}


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        name: what was checked.
        state: `ok`; `absent`, an optional part that is not installed; `broken`, which fails where it is used.
        found: versions, devices or the error, in one line.
        remedy: what to do about it; empty if there is nothing to do.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print JSON, for a bug report")
def doctor(as_json: bool) -> None:
    """Check versions, GPU, OpenGL, simulators and runtime.

    Ends with exit code 1 if something is broken. An optional part that is not installed is not broken.
    """
    findings = [
        Finding(*finding)
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: ORDER.get(entry.name, len(ORDER)))
        for finding in entry.load()()
    ]
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        _print(findings)
    sys.exit(any(finding.state == BROKEN for finding in findings))


ORDER = {name: place for place, name in enumerate(("core", "sim", "deploy"))}
"""Of the packages' findings; those of other packages come last."""


def _print(findings: list[Finding]) -> None:
    from rich.text import Text

    screen, width = console(), max(len(finding.name) for finding in findings)
    for name, state, found, remedy in findings:
        mark, color = MARKS[state]
        screen.print(Text.assemble((mark, color), f"  {name:<{width}}  {found}"), soft_wrap=True)
        if remedy:
            screen.print(Text(" " * (width + 6) + remedy, style="dim"), soft_wrap=True)


def check_core() -> Iterator[Finding]:
    """Python, the packages of this project, torch and its GPUs."""
    yield Finding("python", OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("core", "sim", "teachers", "distill", "deploy"):
        try:
            yield Finding(f"protege-{name}", OK, version(f"protege-{name}"))
        except PackageNotFoundError:
            yield Finding(f"protege-{name}", ABSENT, "not installed", f"pip install protege-{name}")
    import torch

    wanted = next((x for x in requires("protege-core") or () if x.startswith("torch")), "torch")
    yield Finding("torch", OK, f"{torch.__version__} (protege-core needs {wanted})")
    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            yield Finding("gpu", ABSENT, "torch is built for CPUs", "For a GPU install torch's CUDA build")
        else:
            yield Finding(
                "gpu", ABSENT, "torch sees none", "Training on a GPU needs NVIDIA's driver; nvidia-smi shows it"
            )
        return
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        yield Finding(
            f"gpu {index}", OK, f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    if find_spec("triton") is None:
        yield Finding("triton", ABSENT, "networks are not compiled, which trains slower", "pip install triton")
    else:
        yield Finding("triton", OK, version("triton"))
