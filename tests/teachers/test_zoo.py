"""The zoo: what goes in comes out, whole or not at all, and nothing that an index says leads out of it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import yaml
from tiny_runs import protege, snapshot

from protege.core.errors import UserError
from protege.core.motions.provenance import Origin, joined, summed
from protege.core.runs.checkpoint import load
from protege.core.runs.evaluation import evaluation_env
from protege.core.runs.load_policy import load_policy
from protege.teachers import zoo as z
from protege.teachers.cards import write_card

RECIPE = "protege core train full_body_tracker/transformer_flat_terrain"
TRACK = {"episodes": 8, "success": 0.5, "success_ci": [0.2, 0.8], "error": 0.125, "error_ci": None}
EVALUATION = {"simulator": "mujoco", "tasks": {"track": TRACK}}
METRICS = {
    "mujoco/track/episodes": 8.0,
    "mujoco/track/success": 0.5,
    "mujoco/track/error": 0.125,
    "mujoco/track/success_low": 0.2,
    "mujoco/track/success_high": 0.8,
}
ROW = "| mujoco | track | 8 | 50.0 % [20.0, 80.0] | 0.125 |"


def one(changes: dict[str, object]) -> dict[str, object]:
    """`EVALUATION` with another result."""
    return {**EVALUATION, "tasks": {"track": {**TRACK, **changes}}}


@pytest.fixture(scope="session")
def stocked(tiny_tracker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of one entry, `tiny`; not to be changed."""
    folder = tmp_path_factory.mktemp("zoo")
    z.add(folder, "tiny", tiny_tracker, RECIPE, METRICS)
    return folder


@pytest.fixture
def copied(stocked: Path, tmp_path: Path) -> Path:
    """One that may be damaged."""
    return Path(shutil.copytree(stocked, tmp_path / "copied"))


@pytest.fixture
def served(copied: Path) -> Iterator[str]:
    """The URL of `copied`, served over HTTP from this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(copied))) as server:
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def zoo(*words: object, code: int = 0) -> str:
    """Run `protege teachers zoo`; what it printed. An error is one line and leaves stdout empty."""
    done = protege("teachers", "zoo", *words)
    assert done.exit_code == code, done.output
    if code == 2:
        assert done.stdout == "" and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        return done.stderr
    return done.stdout


def edit(folder: Path, change) -> None:
    """Let `change` alter the index as plain data."""
    index = yaml.safe_load((folder / "index.yaml").read_text())
    change(index)
    (folder / "index.yaml").write_text(yaml.safe_dump(index))


# Add, list, verify -------------------------------------------------------------------------------------------------------


def test_add_list_verify(tiny_tracker: Path, tmp_path: Path) -> None:
    place, evaluation = tmp_path / "zoo", tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps(EVALUATION))
    words = ["--checkpoint", tiny_tracker, "--zoo", place, "--recipe", RECIPE]
    assert zoo("add", "tiny", *words, "--evaluation", evaluation) == f"{place}/tiny\n"
    zoo("add", "other", *words, "--full-precision")
    assert sorted(snapshot(place)) == [
        "index.yaml", *(f"{name}/{file}" for name in ("other", "tiny") for file in sorted(z.FILES))
    ]  # fmt: skip
    assert zoo("list", "--zoo", place).splitlines() == [
        "name   kind     weights  measured in  task: success, mean error, m or m/s",
        "other  tracker  yes      nothing yet",
        "tiny   tracker  yes      mujoco       track 50.0 %, 0.125",
    ]
    assert zoo("verify", "--zoo", place) == "other: whole\ntiny: whole\n"
    assert zoo("verify", "--zoo", place, "tiny") == "tiny: whole\n"
    entry = z.read_index(place)["tiny"]
    assert (entry.kind, entry.recipe, entry.metrics, set(entry.sha256)) == ("tracker", RECIPE, METRICS, set(z.FILES))
    card = (place / "tiny" / "card.md").read_text()
    assert RECIPE in card and ROW in card and "64 transitions" in card
    assert "Not evaluated" in (place / "other" / "card.md").read_text()
    sizes = [(place / name / "model.safetensors").stat().st_size for name in ("tiny", "other")]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_card_says_whose_motions_were_learned(stocked: Path, tiny_tracker: Path) -> None:
    saved, card = load(tiny_tracker), (stocked / "tiny" / "card.md").read_text()
    (walk,) = saved.motions
    assert walk["name"] == "smpl_humanoid_walk" and len(walk["sha256"]) == 64
    source = walk["source"] or "not said"
    assert f"| smpl_humanoid_walk | {source} | not said | {walk['sha256'][:16]} |" in card.splitlines()


def test_a_card_counts_many_motions_and_knows_when_none_is_known(stocked: Path, tiny_tracker: Path) -> None:
    entry, saved = z.find(stocked, "tiny"), load(tiny_tracker)
    own = {"source": "a|b\n(2003)", "licence": "free", "sha256": "0" * 64}
    many = [{"name": f"walk {i}", **own, "licence": "free" if i < 20 else ""} for i in range(25)]
    card = write_card(entry, replace(saved, motions=many)).splitlines()
    assert "| a\\|b (2003) | free | 20 |" in card and "| a\\|b (2003) | not said | 5 |" in card
    each = [{"name": f"walk {i}", **own, "source": str(i)} for i in range(30)]
    assert "| others | see config.yaml | 10 |" in write_card(entry, replace(saved, motions=each)).splitlines()
    files = ", ".join(f"`{file}`" for file in saved.config["run"]["motion_file"])
    earlier = write_card(entry, replace(saved, motions=[])).splitlines()
    assert f"Trained on motions whose origin it does not say: {files}." in earlier


def test_a_card_counts_the_clips_of_a_library(stocked: Path, tiny_tracker: Path) -> None:
    """A checkpoint has one origin for all of a library's clips that share source and licence."""
    library = [Origin(f"{i}", f"source {i % 21}", "free", "0" * 64) for i in range(2100)]
    motions = joined(summed(library), [Origin("walk", "source 3", "free", "1" * 64)])
    card = write_card(z.find(stocked, "tiny"), replace(load(tiny_tracker), motions=motions)).splitlines()
    assert "| source 3 | free | 101 |" in card and "| source 0 | free | 100 |" in card
    assert "| others | see config.yaml | 100 |" in card


def test_a_card_may_be_written_anew(copied: Path, tmp_path: Path) -> None:
    before = snapshot(copied)
    for simulator, success in (("mujoco", 0.5), ("mjwarp", 1.0)):
        other = {**one({"success": success}), "simulator": simulator}
        (tmp_path / f"{simulator}.json").write_text(json.dumps(other))
    words = ["--evaluation", tmp_path / "mujoco.json", "--evaluation", tmp_path / "mjwarp.json"]
    assert zoo("card", "tiny", "--zoo", copied, *words, "--notes", "It falls.") == f"{copied}/tiny/card.md\n"
    assert z.verify(copied, "tiny") == []
    entry, after = z.find(copied, "tiny"), snapshot(copied)
    assert (entry.metrics["mujoco/track/success"], entry.metrics["mjwarp/track/success"]) == (0.5, 1.0)
    assert (entry.recipe, entry.notes) == (RECIPE, "It falls.")
    assert {file for file in before if before[file] != after[file]} == {"index.yaml", "tiny/card.md"}
    zoo("card", "tiny", "--zoo", copied)
    assert z.find(copied, "tiny").notes == "It falls." and "Not evaluated" in (copied / "tiny" / "card.md").read_text()
    assert "has no entry 'large'" in zoo("card", "large", "--zoo", copied, code=2)


def test_adding_again_replaces(copied: Path, tiny_tracker: Path) -> None:
    (copied / "tiny" / "leftover").write_text("")
    z.add(copied, "tiny", tiny_tracker, "another", {})
    assert z.verify(copied, "tiny") == [] and z.find(copied, "tiny").recipe == "another"
    assert {file.name for file in (copied / "tiny").iterdir()} == set(z.FILES)


@pytest.mark.parametrize("file", z.FILES)
def test_a_tampered_file_is_named(copied: Path, file: str) -> None:
    path = copied / "tiny" / file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert zoo("verify", "--zoo", copied, code=1) == f"tiny: {path} differs from its checksum\n"
    path.unlink()
    assert zoo("verify", "--zoo", copied, code=1) == f"tiny: {path} is missing\n"


def test_an_empty_zoo_says_so(tmp_path: Path) -> None:
    (tmp_path / "index.yaml").write_text("{}\n")
    for command in ("list", "verify"):
        said = zoo(command, "--zoo", tmp_path)
        assert said.startswith(f"{tmp_path} is empty") and said.count("\n") == 1


# Pull --------------------------------------------------------------------------------------------------------------------


def test_pull_from_a_folder(stocked: Path, tmp_path: Path) -> None:
    assert zoo("pull", "tiny", "--zoo", stocked, "--output", tmp_path / "mine") == f"{tmp_path}/mine/tiny\n"
    assert snapshot(tmp_path / "mine") == snapshot(stocked)
    assert zoo("verify", "--zoo", tmp_path / "mine") == "tiny: whole\n"


def test_pull_over_http(served: str, copied: Path, tmp_path: Path) -> None:
    assert zoo("list", "--zoo", served).splitlines()[1].startswith("tiny  tracker  yes")
    zoo("pull", "tiny", "--zoo", served, "--output", tmp_path / "mine")
    assert snapshot(tmp_path / "mine") == snapshot(copied)
    assert "has no entry 'large'. It has tiny" in zoo("pull", "large", "--zoo", served, "--output", tmp_path, code=2)
    assert "HTTP Error 404" in zoo("list", "--zoo", served + "/tiny", code=2)
    assert "is not a folder. Pull" in zoo("verify", "--zoo", served, code=2)


def test_pull_keeps_what_is_there(copied: Path, tiny_tracker: Path, tmp_path: Path) -> None:
    z.add(tmp_path / "mine", "older", tiny_tracker, "", {})
    z.pull(copied, "tiny", tmp_path / "mine")
    assert list(z.read_index(tmp_path / "mine")) == ["older", "tiny"]


@pytest.mark.parametrize("over", ["folder", "http"])
def test_a_checksum_mismatch_leaves_nothing_behind(over: str, served: str, copied: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    z.pull(copied, "tiny", mine)
    before = snapshot(mine)
    (copied / "tiny" / "config.yaml").write_text("format: 1\n")
    where = served if over == "http" else copied
    for target in (mine, tmp_path / "fresh"):
        said = zoo("pull", "tiny", "--zoo", where, "--output", target, code=2)
        assert f"{where}/tiny/config.yaml differs from its checksum" in said
    assert snapshot(mine) == before and snapshot(tmp_path / "fresh") == {}
    assert [path.name for path in mine.iterdir() if path.name.startswith(".")] == []


# Nothing leads out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["../escaped.txt", "/tmp/escaped.txt", "model.pickle", "sub/card.md", "..", 7])
def test_an_index_cannot_name_other_files(file: object, served: str, copied: Path, tmp_path: Path) -> None:
    (copied / "escaped.txt").write_text("x")

    def change(index: dict) -> None:
        index["tiny"]["sha256"][file] = z._sha256(b"x")

    edit(copied, change)
    mine = tmp_path / "a" / "mine"
    for where in (served, copied):
        said = zoo("pull", "tiny", "--zoo", where, "--output", mine, code=2)
        assert f"tiny lists {file!r}; its files must be model.safetensors, config.yaml, card.md" in said
    assert not (tmp_path / "a").exists()
    for command in ("list", "verify"):
        zoo(command, "--zoo", copied, code=2)


def test_an_entry_without_checksums_is_not_whole(copied: Path) -> None:
    edit(copied, lambda index: index["tiny"]["sha256"].pop("card.md"))
    assert "tiny lists too few files" in zoo("verify", "--zoo", copied, code=2)
    edit(copied, lambda index: index["tiny"].update(sha256={}))
    assert "tiny lists too few files" in zoo("verify", "--zoo", copied, code=2)


BAD_NAMES = ["../x", "/x", "a/b", "..", ".hidden", "-x", "", "a b", "x\n", "index.yaml", "x" * 101, "größe"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_only_plain_names(name: str, copied: Path, tiny_tracker: Path, tmp_path: Path) -> None:
    place = tmp_path / "a" / "zoo"
    said = zoo("add", "--checkpoint", tiny_tracker, "--zoo", place, "--", name, code=2)
    assert f"{name!r} cannot be the name of an entry" in said
    edit(copied, lambda index: index.update({name: index.pop("tiny")}))
    said = zoo("pull", "--zoo", copied, "--output", place, "--", name, code=2)
    assert f"{name!r} cannot be the name of an entry" in said
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
def test_what_is_no_index_is_refused(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "index.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    zoo("list", "--zoo", tmp_path, code=2)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"kind": "../x"}, "no kind or no recipe"),
        ({"recipe": 3}, "no kind or no recipe"),
        ({"metrics": {"error": "low"}}, "are not numbers"),
        ({"metrics": [1]}, "are not numbers"),
        ({"notes": ["a"]}, "are no text"),
        ({"sha256": dict.fromkeys(z.FILES, "0")}, "checksums that are none"),
        ({"sha256": list(z.FILES)}, "too few files"),
        ({"weights": "no"}, "is not said"),
    ],
)
def test_an_index_of_odd_facts_is_refused(facts: dict, message: str, copied: Path) -> None:
    edit(copied, lambda index: index["tiny"].update(facts))
    assert message in zoo("list", "--zoo", copied, code=2)


# Releases ----------------------------------------------------------------------------------------------------------------


def test_a_release_in_half_precision_acts_like_the_policy(stocked: Path, tiny_tracker: Path) -> None:
    exact, half = load_policy(tiny_tracker), load_policy(stocked / "tiny")
    assert half.kind == "tracker" and half.obs_shapes == exact.obs_shapes and half.config == exact.config
    env = evaluation_env(exact, "track", num_envs=4, seed=0, device="cpu")
    try:
        obs = env.reset()
        for _ in range(5):
            mean, std, value = exact.policy(obs)
            other = half.policy(obs)
            torch.testing.assert_close(other[0], mean, atol=2e-3, rtol=0.0)
            torch.testing.assert_close(other[1], std, atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(other[2], value, atol=1e-2, rtol=1e-2)
            assert not torch.equal(other[0], mean)
            obs = env.step(mean).obs
    finally:
        env.close()


def test_a_release_in_full_precision_is_exact(tiny_tracker: Path, tmp_path: Path) -> None:
    z.add(tmp_path, "exact", tiny_tracker, "", {}, half=False)
    mine, theirs = (load_policy(path).policy.state_dict() for path in (tmp_path / "exact", tiny_tracker))
    assert all(torch.equal(mine[name], x) for name, x in theirs.items())


# Bad input ---------------------------------------------------------------------------------------------------------------


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


def test_what_is_wrong_is_named_and_nothing_is_written(stocked: Path, tiny_tracker: Path, tmp_path: Path) -> None:
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


def test_an_entry_may_be_without_its_weights(tiny_tracker: Path, stocked: Path, tmp_path: Path) -> None:
    place = tmp_path / "zoo"
    zoo("add", "large", "--checkpoint", tiny_tracker, "--zoo", place, "--recipe", RECIPE, "--no-weights")
    assert {path.name for path in (place / "large").iterdir()} == {"config.yaml", "card.md"}
    # What it would weigh in full is that of the same policy with its weights.
    assert z.find(place, "large").sha256["model.safetensors"] == z.find(stocked, "tiny").sha256["model.safetensors"]
    [_, line] = zoo("list", "--zoo", place).splitlines()
    assert line == "large  tracker  no, recipe only  nothing yet"
    assert zoo("verify", "--zoo", place) == "large: whole\n"
    told = f"error: {place} has no weights of large, only its recipe. Train it: {RECIPE}\n"
    assert zoo("pull", "large", "--zoo", place, "--output", tmp_path / "other", code=2) == told
    assert zoo("card", "large", "--zoo", place, code=2) == told
    assert not (tmp_path / "other" / "large").exists()
    (place / "large" / "config.yaml").write_text("")
    assert "differs from its checksum" in zoo("verify", "--zoo", place, code=1)


# The one that is shipped


def test_the_shipped_zoo_is_whole_and_small():
    folder = z.shipped()
    assert set(z.read_index(folder)) == {path.name for path in folder.iterdir() if path.is_dir()}
    assert not [problem for name in z.read_index(folder) for problem in z.verify(folder, name)]
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < 12e6


def test_the_shipped_zoos_list_says_where_each_was_measured():
    entries = z.read_index(z.shipped())
    lines = zoo("list").splitlines()[1:]
    for line in lines:
        assert "%, 0." in line and line.split("  ")[-1].strip()
    named = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    assert set(named) == set(entries)
    assert {name for name, line in named.items() if "no, recipe only" in line} == {
        name for name, entry in entries.items() if not entry.weights
    }
    assert sum("mujoco" in line for line in lines) == sum(
        any(key.startswith("mujoco/") for key in entry.metrics) for entry in entries.values()
    )


@pytest.mark.parametrize("name", sorted(name for name, entry in z.read_index(z.shipped()).items() if entry.weights))
def test_a_shipped_policy_loads_by_name(name):
    loaded = load_policy(f"zoo:{name}")
    assert loaded.kind == z.find(z.shipped(), name).kind
    assert all(x.isfinite().all() for x in loaded.policy.state_dict().values())


@pytest.mark.parametrize(
    "name", ["", "nobody", "../zoo_data", ".", *(x.name for x in z.read_index(z.shipped()).values() if not x.weights)]
)
def test_what_is_not_shipped_is_one_line(name):
    with pytest.raises(UserError, match=r"no policy zoo:.* is shipped\. protege-teachers zoo list"):
        load_policy(f"zoo:{name}")
