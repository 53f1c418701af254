"""The one exception that reaches a user: a line that names the culprit and the remedy, exit code 2."""

import re
from collections.abc import Sequence
from typing import Self

LINE_BREAKS = re.compile(r"[^\S ]+|[\x00-\x1f\x7f-\x9f]")
"""And what else moves a terminal's cursor."""


class UserError(Exception):
    """Something the user can mend. Every command prints it as one line on stderr and exits with code 2.

    Args:
        problem: what is wrong, naming the file or config key.
        remedy: what to do about it.
        also: others that were found with it, which are printed after it.
    """

    def __init__(self, problem: str, remedy: str = "", also: Sequence["UserError"] = ()) -> None:
        super().__init__(LINE_BREAKS.sub(" ", f"{problem.rstrip('.')}. {remedy}".strip()))
        self.problem = problem
        self.remedy = remedy
        self.also = tuple(also)

    @classmethod
    def together(cls, errors: Sequence["UserError"]) -> Self:
        """Several at once."""
        first, *others = errors
        return cls(first.problem, first.remedy, others)

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, Sequence["UserError"]]]:
        """From another process it comes back as it was."""
        return type(self), (self.problem, self.remedy, self.also)


def shown(text: str, length: int = 200) -> str:
    """A text from outside as an error shows it: cut, if it is long."""
    return text if len(text) <= length else f"{text[:length]}..."
