"""Errors in a robot's files, collected instead of raised, so that all of them can be reported together."""

from collections.abc import Callable

from protege.core.errors import UserError


class Faults(list[UserError]):
    """Errors in the order in which they were found."""

    def collect[**P, T](self, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result of a function; if it raises an error, None, and the error is added."""
        try:
            return make(*args, **kwargs)
        except UserError as error:
            self.append(error)
            return None
