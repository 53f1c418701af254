"""Zoos and indices with arbitrary contents, and invalid input."""

import json
from pathlib import Path

import pytest
import yaml
from tiny_runs import snapshot
from zoos import TRACK, one, zoo

from protege.core.errors import UserError
from protege.core.runs.load_policy import load_policy
from protege.teachers import zoo as z


def edit(folder: Path, change) -> None:
    """Apply `change` to the index as plain data."""
    index = yaml.safe_load((folder / "index.yaml").read_text())
    change(index)
    (folder / "index.yaml").write_text(yaml.safe_dump(index))


@pytest.mark.parametrize("file", ["../escaped.txt", "/tmp/escaped.txt", "model.pickle", "sub/card.md", "..", 7])
def test_an_index_cannot_name_other_files(file: object, served: str, copied: Path, tmp_path: Path) -> None:
    (copied / "escaped.txt").write_text("x")

    def change(index: dict) -> None:
        index["tiny"]["sha256"][file] = z._sha256(b"x")

    edit(copied, change)
    mine = tmp_path / "a" / "mine"
    for where in (served, copied):
        output = zoo("pull", "tiny", "--zoo", where, "--output", mine, code=2)
        assert f"tiny lists {file!r}; its files must be model.safetensors, config.yaml, card.md" in output
    assert not (tmp_path / "a").exists()
    for command in ("list", "verify"):
        zoo(command, "--zoo", copied, code=2)


def test_an_entry_without_checksums_is_invalid(copied: Path) -> None:
    edit(copied, lambda index: index["tiny"]["sha256"].pop("card.md"))
    assert "tiny lists too few files" in zoo("verify", "--zoo", copied, code=2)
    edit(copied, lambda index: index["tiny"].update(sha256={}))
    assert "tiny lists too few files" in zoo("verify", "--zoo", copied, code=2)


BAD_NAMES = ["../x", "/x", "a/b", "..", ".hidden", "-x", "", "a b", "x\n", "index.yaml", "x" * 101, "größe"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_only_plain_names_are_accepted(name: str, copied: Path, tiny_tracker: Path, tmp_path: Path) -> None:
    place = tmp_path / "a" / "zoo"
    output = zoo("add", "--checkpoint", tiny_tracker, "--zoo", place, "--", name, code=2)
    assert f"{name!r} cannot be the name of an entry" in output
    edit(copied, lambda index: index.update({name: index.pop("tiny")}))
    output = zoo("pull", "--zoo", copied, "--output", place, "--", name, code=2)
    assert f"{name!r} cannot be the name of an entry" in output
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "tiny: 5",
        "tiny: {kind: tracker}",
        "{",
        "tiny: {kind: a, recipe: b, weight: 3}",
        "\x00",
        b"\xff\xfe\x00",
    ],
)
def test_invalid_indices_are_refused(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "index.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    zoo("list", "--zoo", tmp_path, code=2)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"kind": "../x"}, "no kind or no recipe"),
        ({"recipe": 3}, "no kind or no recipe"),
        ({"metrics": {"error": "low"}}, "are not numbers"),
        ({"metrics": [1]}, "are not numbers"),
        ({"notes": ["a"]}, "are not a string"),
        ({"sha256": dict.fromkeys(z.FILES, "0")}, "checksums that are none"),
        ({"sha256": list(z.FILES)}, "too few files"),
        ({"weights": "no"}, "not true or false"),
    ],
)
def test_an_index_of_odd_facts_is_refused(facts: dict, message: str, copied: Path) -> None:
    edit(copied, lambda index: index["tiny"].update(facts))
    assert message in zoo("list", "--zoo", copied, code=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (one({"error": None}), "mujoco/track/error is null: it was never measured"),
        (one({"error": float("nan")}), "track/error is NaN"),
        (one({"success": True}), "track/success is true"),
        ({"simulator": "mujoco", "task": TRACK}, "is not the evaluation.json"),
        ({"simulator": "mujoco", "tasks": ["path"]}, "is not the evaluation.json"),
        ({"simulator": "mujoco", "tasks": {"path": 1.0}}, "is not the evaluation.json"),
        ([1, 2], "is not the evaluation.json"),
        ("no JSON at all", "is not the evaluation.json"),
    ],
)
def test_add_refuses_other_json_and_writes_nothing(
    content: object, message: str, tiny_tracker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    words = ["--checkpoint", tiny_tracker, "--zoo", tmp_path / "zoo", "--evaluation", path]
    assert message in zoo("add", "tiny", *words, code=2)
    assert not (tmp_path / "zoo").exists()


def test_errors_are_named_and_nothing_is_written(stocked: Path, tiny_tracker: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "index.yaml").write_text("[]\n- x")
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "tiny").write_text("")
    before, stock = snapshot(tmp_path), snapshot(stocked)
    add = ["add", "tiny", "--checkpoint", tiny_tracker, "--zoo"]
    pull = ["pull", "tiny", "--zoo", stocked, "--output"]
    for words, message in [
        (["add", "x", "--checkpoint", tmp_path / "none", "--zoo", tmp_path / "new"], "no checkpoint at"),
        ([*add, tmp_path / "file" / "zoo"], "cannot write"),
        ([*add, tmp_path / "odd"], "is not a zoo's index"),
        ([*add, tmp_path / "blocked"], "cannot write"),
        ([*pull, tmp_path / "file" / "zoo"], "cannot write"),
        ([*pull, tmp_path / "odd"], "is not a zoo's index"),
        ([*pull, tmp_path / "blocked"], "cannot write"),
        (["pull", "large", "--zoo", stocked, "--output", tmp_path / "new"], "It has tiny"),
        (["pull", "tiny", "--zoo", "http://127.0.0.1:9/zoo", "--output", tmp_path / "new"], "cannot read"),
        (["pull", "tiny", "--zoo", "gopher://x", "--output", tmp_path / "new"], "cannot read"),
        (["list", "--zoo", tmp_path / "none"], "Give a folder or URL that holds a zoo: --zoo"),
        (["verify", "--zoo", tmp_path / "none"], "Give a folder or URL"),
        (["verify", "--zoo", stocked, "large"], "has no entry 'large'. It has tiny"),
    ]:
        assert message in zoo(*words, code=2), words
    assert snapshot(tmp_path) == before and snapshot(stocked) == stock
    assert not (tmp_path / "new").exists()


def test_a_damaged_entry_does_not_load(copied: Path) -> None:
    path = copied / "tiny" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged release"):
        load_policy(copied / "tiny")
