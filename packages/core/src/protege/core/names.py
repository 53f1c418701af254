"""The one rule for names that become files or folders: clips, experiments, members of archives."""

import re

from .errors import UserError

LONGEST = 100
"""Characters; file systems take 255 bytes, and endings are added."""
RULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def checked_name(name: str, what: str) -> str:
    """The name, if it can be that of one file or folder on any system and cannot lead out of the folder that it is in.

    Args:
        what: is called so, for the message: `the clip's name`, `run.experiment_name`.

    Raises:
        UserError: it is empty or too long, begins with a dot or a dash, or has other characters than ASCII letters, digits and
            `._-`.
    """
    if len(name) > LONGEST:
        raise UserError(f"{what} has {len(name)} characters", f"Use at most {LONGEST}")
    if not RULE.fullmatch(name):
        raise UserError(
            f"{what} is {name!a}", "Use letters, digits and . _ - (no slashes), and begin with a letter or digit"
        )
    return name
