"""The rule for names that become files or folders: clips, experiments, members of archives."""

import re

from .errors import UserError

MAX_LENGTH = 100
"""Maximum number of characters. File systems allow 255 bytes, and file extensions are added."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def checked_name(name: str, what: str) -> str:
    """Return the name if it is a valid file or folder name on any system and cannot lead out of its folder.

    Args:
        what: what has this name, for the message: `the clip's name`, `run.experiment_name`.

    Raises:
        UserError: the name is empty or too long, begins with a dot or a dash, or contains characters other than ASCII letters,
            digits and `._-`.
    """
    if len(name) > MAX_LENGTH:
        raise UserError(f"{what} has {len(name)} characters", f"Use at most {MAX_LENGTH}")
    if not NAME_PATTERN.fullmatch(name):
        raise UserError(
            f"{what} is {name!a}", "Use letters, digits and . _ - (no slashes), and begin with a letter or digit"
        )
    return name
