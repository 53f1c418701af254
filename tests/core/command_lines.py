"""Running commands that fail, on the real robot."""

from tiny_runs import protege

MASKED_MIMIC = "masked_mimic/path_follower"


def fails(*words: object) -> str:
    """Run a command that has to fail as all commands do: exit code 2, one line on stderr. Returns the line."""
    result = protege(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    line = result.stderr
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line
