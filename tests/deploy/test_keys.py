"""The shared key: its sources, checks and signatures."""

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.network.keys import is_signed, load_key, signature

TEXT = "0123456789abcdef"


def key_file(folder: Path, content: str, mode: int = 0o600) -> str:
    path = folder / "udp.key"
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def test_a_key_file_takes_precedence_over_the_environment(tmp_path: Path) -> None:
    environment = {"PROTEGE_UDP_KEY": " another key of bytes\n"}
    assert load_key(key_file(tmp_path, f"{TEXT}\n"), environment) == TEXT.encode()
    assert load_key(None, environment) == b"another key of bytes"
    assert load_key(None, {}) is None


def test_a_key_file_readable_by_others_causes_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "protege.deploy"):
        load_key(key_file(tmp_path, TEXT))
        assert caplog.records == []
        path = key_file(tmp_path, TEXT, 0o640)
        load_key(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"other users may read the key file {path}: chmod 600 {path}"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds 0 bytes, not 16 to 4096"), ("  short \n", "holds 5 bytes"), ("x" * 5000, "4097")],
)
def test_the_length_of_a_key_is_checked(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=rf"udp\.key {message}|{message}.*openssl rand"):
        load_key(key_file(tmp_path, content), {})


def test_a_missing_file_and_a_short_variable_are_one_line_errors(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["run", str(exported), "--fast", "--seconds", "0.1"]
    done = CliRunner().invoke(main, [*options, "--key-file", "nowhere.key"])
    assert done.exit_code == 2 and done.output.startswith("error: cannot read the key file nowhere.key (No such file")
    monkeypatch.setenv("PROTEGE_UDP_KEY", "short")
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2 and "the environment variable PROTEGE_UDP_KEY holds 5 bytes" in done.output


def test_signatures_match_rfc_4231() -> None:
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    message = b"what do ya want for nothing?"
    assert signature(b"Jefe", message).hex() == expected and is_signed(b"Jefe", message, bytes.fromhex(expected))
    assert not is_signed(b"Jefe", message, bytes(32)) and not is_signed(b"Jefe", message, b"")
