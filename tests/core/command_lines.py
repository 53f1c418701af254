"""Runs commands that must fail, on the real robot."""

from tiny_runs import protege

MASKED_MIMIC = "masked_mimic/path_follower"


def fails(*words: object) -> str:
    """Run a command that must fail with exit code 2 and one line on stderr. Returns the line."""
    result = protege(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    line = result.stderr
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line
