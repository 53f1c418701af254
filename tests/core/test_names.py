"""Names that become files or folders."""

import pytest

from protege.core.errors import UserError
from protege.core.names import checked_name


@pytest.mark.parametrize("name", ["walk", "walk_2.fast-left", "2walks", "_walk", "W" * 100, "a..b"])
def test_a_valid_name_is_unchanged(name: str) -> None:
    assert checked_name(name, "the clip's name") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../evil",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:evil",
        ".hidden",
        "-rf",
        "a b",
        "a[1]",
        "gehen_\u00fc",
        "a\n",
    ],
)
def test_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"the clip's name is .* Use letters, digits") as caught:
        checked_name(name, "the clip's name")
    assert str(caught.value).isascii() and "\n" not in str(caught.value)


def test_a_name_too_long_for_a_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"the clip's name has 101 characters. Use at most 100"):
        checked_name("x" * 101, "the clip's name")
