"""Something about a robot that is missing, doubtful or wrong."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One sentence and what to do about it.

    Attributes:
        element: a key of `robot.yaml`, or an element of the model file.
        problem: follows the element in a sentence.
        remedy: what to write where.
    """

    element: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.element} {self.problem}. {self.remedy}"
