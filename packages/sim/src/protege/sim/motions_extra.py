"""The modules that the extra `motions` installs: mink for inverse kinematics, and imageio's ffmpeg for films."""

from collections.abc import Iterator
from contextlib import contextmanager

from protege.core.errors import UserError

MODULES = ("mink", "imageio_ffmpeg")
REMEDY = 'Install the extra: make setup EXTRA="cpu motions", or pip install "protege-sim[motions]"'


@contextmanager
def needs_motions_extra(purpose: str) -> Iterator[None]:
    """Around an import of one of `MODULES`.

    Args:
        purpose: what it is needed for, such as "a film".

    Raises:
        UserError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in MODULES:
            raise
        raise UserError(f"{purpose} needs {error.name}, which is not installed", REMEDY) from error
