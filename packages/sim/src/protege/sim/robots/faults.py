"""What is wrong with a robot's files, collected instead of raised: all of it can then be said at once."""

from collections.abc import Callable

from protege.core.errors import UserError


class Faults(list[UserError]):
    """Errors in the order in which they were found."""

    def collect[**P, T](self, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What a function returns; None if it raises an error, which is noted."""
        try:
            return make(*args, **kwargs)
        except UserError as error:
            self.append(error)
            return None
