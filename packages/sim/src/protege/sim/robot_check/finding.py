"""A missing, doubtful or wrong property of a robot."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A problem and its remedy.

    Attributes:
        element: a key of `robot.yaml`, or an element of the model file.
        problem: predicate of a sentence whose subject is the element.
        remedy: what to write, and where.
    """

    element: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.element} {self.problem}. {self.remedy}"
