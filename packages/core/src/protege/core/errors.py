"""Errors for the user: one line that names the problem and the remedy, exit code 2."""

import re
from collections.abc import Sequence
from typing import Self

LINE_BREAKS = re.compile(r"[^\S ]+|[\x00-\x1f\x7f-\x9f]")
"""Line breaks, and other control characters that move a terminal's cursor."""


class UserError(Exception):
    """An error that the user can fix. Every command prints it as one line on stderr and exits with code 2.

    Args:
        problem: what is wrong, with the file or config key.
        remedy: how to fix it.
        also: further errors found at the same time; printed after this one.
    """

    def __init__(self, problem: str, remedy: str = "", also: Sequence["UserError"] = ()) -> None:
        super().__init__(LINE_BREAKS.sub(" ", f"{problem.rstrip('.')}. {remedy}".strip()))
        self.problem = problem
        self.remedy = remedy
        self.also = tuple(also)

    @classmethod
    def together(cls, errors: Sequence["UserError"]) -> Self:
        """Combine several errors into one."""
        first, *others = errors
        return cls(first.problem, first.remedy, others)

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, Sequence["UserError"]]]:
        """Support pickling, so that the error crosses process boundaries."""
        return type(self), (self.problem, self.remedy, self.also)


def shown(text: str, length: int = 200) -> str:
    """External text for an error message, truncated to `length` characters."""
    return text if len(text) <= length else f"{text[:length]}..."
