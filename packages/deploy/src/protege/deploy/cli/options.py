"""Options that several commands share."""

import math
from collections.abc import Callable
from typing import Any

import click


class FiniteFloat(click.FloatRange):
    """A finite number in a range: Python also reads `nan` and `inf` as floats."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


class AnyFiniteFloat(click.types.FloatParamType):
    """Any finite number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


def _finite(kind: click.ParamType, number: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
    if not math.isfinite(number):
        kind.fail(f"{number} is not a finite number.", param, ctx)
    return number


threads_option: Callable = click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(min=1), help="threads of ONNX Runtime"
)
provider_option: Callable = click.option(
    "--provider",
    default="cpu",
    show_default=True,
    help="where ONNX Runtime computes: cpu, cuda, tensorrt or tensorrt-rtx",
)
