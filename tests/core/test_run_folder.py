"""A run's folder: logs with an incomplete end, earlier runs, and files of killed runs."""

import hashlib
import json
from pathlib import Path

import pytest
from tiny_runs import snapshot

from protege.core.errors import UserError
from protege.core.runs.resuming import check_sources, clip_digests, weights_digest
from protege.core.runs.run_folder import move_aside, read_metrics, remove_temporaries

RUN = {name: name.encode() for name in ("last.ckpt", "best.ckpt", "config.yaml", "metrics.jsonl")} | {
    "events.out.tfevents.1.host.2.0": b"events",
    "evaluation/evaluation.json": b"{}",
}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# The log


@pytest.mark.parametrize("torn", [b"", b"{", b'{"iteration": 2', b'{"iteration": 2}', b"\xff\0", b"\0" * 4096])
def test_an_incomplete_end_of_the_log_is_skipped(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"iteration": 0, "loss": 0.5}\n{"iteration": 1, "loss": NaN}\n' + torn)
    first, second = read_metrics(path)
    assert first == {"iteration": 0, "loss": 0.5} and second["loss"] != second["loss"]


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000])
def test_another_damage_of_the_log_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"iteration": 0}\n' + line + b'\n{"iteration": 1}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 2\. Mend it"):
        read_metrics(path, "Mend it")


def test_no_log_has_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


# An earlier run


def test_each_earlier_run_is_moved_to_its_own_folder(tmp_path):
    others = {"note.txt": b"mine", "b/last.ckpt": b"another run", "previous-x/file": b"mine", ".lock": b"{}"}
    fill(tmp_path, RUN | others)
    assert move_aside(tmp_path) == tmp_path / "previous-1"
    assert snapshot(tmp_path / "previous-1") == dict(sorted(RUN.items()))
    fill(tmp_path, {"best.ckpt": b"second"})
    assert move_aside(tmp_path) == tmp_path / "previous-2"
    moved = {f"previous-1/{name}": data for name, data in RUN.items()} | {"previous-2/best.ckpt": b"second"}
    assert snapshot(tmp_path) == dict(sorted((others | moved).items()))
    assert move_aside(tmp_path) is None


def test_a_log_without_a_checkpoint_is_not_moved(tmp_path):
    fill(tmp_path, {"metrics.jsonl": b'{"iteration": 0}\n', "config.yaml": b""})
    assert move_aside(tmp_path) is None
    assert set(snapshot(tmp_path)) == {"metrics.jsonl", "config.yaml"}


@pytest.mark.parametrize("moved", range(len(RUN) + 1))
def test_moving_aside_can_be_interrupted_anywhere(tmp_path, monkeypatch, moved):
    """Killed after `moved` files: no checkpoint is left to resume from, and the next call moves the rest to the same folder."""

    class KilledError(Exception):
        pass

    fill(tmp_path, RUN)
    left, replace, rename = [moved], Path.replace, Path.rename

    def count(path: Path, target: Path) -> Path:
        if not left[0]:
            raise KilledError
        left[0] -= 1
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", count)
    monkeypatch.setattr(Path, "rename", lambda path, target: count(path, path) and rename(path, target))
    with pytest.raises(KilledError):
        move_aside(tmp_path)
    assert (tmp_path / "last.ckpt").exists() == (moved == 0)
    monkeypatch.undo()
    assert move_aside(tmp_path) == tmp_path / "previous-1"
    assert snapshot(tmp_path) == {f"previous-1/{name}": data for name, data in sorted(RUN.items())}


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    torn = {f".{name}.{end}": b"half" for name in ("last.ckpt", "metrics.jsonl") for end in ("abcd_123", "zzzzzzzz")}
    others = {".last.ckpt": b"", "last.ckpt": b"", ".last.ckpt.backup01.tar": b"", ".mine.abcd_123": b"", ".lock": b""}
    fill(tmp_path, torn | others)
    remove_temporaries(tmp_path)
    assert snapshot(tmp_path) == dict(sorted(others.items()))


# Sources


def test_a_changed_source_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    last, was = Path("a/last.ckpt"), {"x.npy": "1", "y.npy": "2"}
    for same in (was, {str(tmp_path / "x.npy"): "1", "b/../y.npy": "2"}, {"elsewhere/x.npy": "1", "y.npy": "2"}):
        check_sources(last, was, same)
    check_sources(last, {}, was)  # a checkpoint of an earlier version
    for now, problem in (
        ({"x.npy": "1", "y.npy": "3"}, r"y\.npy has changed since a/last\.ckpt was trained with it\. Put the old one back"),
        ({"x.npy": "2", "y.npy": "1"}, r"x\.npy has changed"),
        (was | {"z.npy": "3"}, r"z\.npy is new: a/last\.ckpt was trained without it"),
        ({"x.npy": "1"}, r"y\.npy is gone: a/last\.ckpt was trained with it\..*--checkpoint a/last\.ckpt"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=problem):
            check_sources(last, was, now)


def test_a_clips_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"abc")
    (tmp_path / "b.npy").write_bytes(b"")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert clip_digests([str(tmp_path)]) == {str(tmp_path / "a.npy"): abc, str(tmp_path / "b.npy"): empty}


def test_a_digest_of_weights_depends_on_names_types_shapes_and_values():
    import torch

    x, name = torch.arange(4.0), "w"
    tables = [{name: x}, {"v": x}, {name: x.half()}, {name: x.view(2, 2)}, {name: x + 1}, {name: x.bfloat16()}, {}]
    assert len({weights_digest(table) for table in tables}) == len(tables)
    assert weights_digest({"a": x, "b": -x}) == weights_digest({"b": -x, "a": x[:]})
    assert json.dumps(weights_digest({"flag": torch.tensor(True)}))  # no dimension, no number


def test_a_scale_of_one_is_not_in_the_digest_and_exports_ignore_shapes():
    import torch

    one, two = torch.ones(2), 2.0 * torch.ones(2)
    for shapes in (True, False):
        plain, scaled, other = ({"w": two} | x for x in ({}, {"action_scale": one}, {"action_scale": two}))
        assert weights_digest(plain, shapes=shapes) == weights_digest(scaled, shapes=shapes)
        assert weights_digest(plain, shapes=shapes) != weights_digest(other, shapes=shapes)
    # What the first exports recorded: names and bytes. 2.0 is 00 00 00 40 in float32.
    expected = hashlib.sha256(b"w" + bytes.fromhex("0000004000000040")).hexdigest()
    assert weights_digest({"w": two}, shapes=False) == expected
