"""The one exception that reaches a user: a line that names the culprit and the remedy, exit code 2."""


class UserError(Exception):
    """Something the user can mend. Every command prints it as one line on stderr and exits with code 2.

    Args:
        problem: what is wrong, naming the file or config key.
        remedy: what to do about it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem.rstrip('.')}. {remedy}".strip())
        self.problem = problem
        self.remedy = remedy
