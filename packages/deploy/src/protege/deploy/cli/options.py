"""Options that several commands share."""

import math
from collections.abc import Callable
from typing import Any

import click


class FiniteFloat(click.FloatRange):
    """A finite number: Python also reads `nan` and `inf` as floats."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


threads_option: Callable = click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(min=1), help="of ONNX Runtime"
)
provider_option: Callable = click.option(
    "--provider", default="cpu", show_default=True, help="cpu, cuda, tensorrt or tensorrt-rtx"
)
