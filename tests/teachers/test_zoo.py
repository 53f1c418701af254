"""The zoo: adding, listing, verifying and pulling entries; the shipped one."""

import json
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY, TRACKER, protege, snapshot, train
from zoos import EVALUATION, METRICS, RECIPE, zoo

from protege.core.errors import UserError
from protege.core.runs.checkpoint import load
from protege.core.runs.evaluation import evaluation_env
from protege.core.runs.load_policy import load_policy
from protege.teachers import zoo as z

ROW = "| mujoco | track | 8 | 50.0 % [20.0, 80.0] | 0.125 |"


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


def test_an_empty_zoo_prints_a_notice(tmp_path: Path) -> None:
    (tmp_path / "index.yaml").write_text("{}\n")
    for command in ("list", "verify"):
        output = zoo(command, "--zoo", tmp_path)
        assert output.startswith(f"{tmp_path} is empty") and output.count("\n") == 1


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


def test_pull_keeps_existing_entries(copied: Path, tiny_tracker: Path, tmp_path: Path) -> None:
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
        output = zoo("pull", "tiny", "--zoo", where, "--output", target, code=2)
        assert f"{where}/tiny/config.yaml differs from its checksum" in output
    assert snapshot(mine) == before and snapshot(tmp_path / "fresh") == {}
    assert [path.name for path in mine.iterdir() if path.name.startswith(".")] == []


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


def test_a_release_without_critic_acts_and_can_be_trained_but_is_no_teacher(tiny_tracker: Path, tmp_path: Path) -> None:
    z.add(tmp_path, "actor", tiny_tracker, "", {}, half=False, critic=False)
    whole, actor = load(tiny_tracker), load(tmp_path / "actor")
    gone = whole.model.keys() - actor.model.keys()
    assert gone == {name for name in whole.model if name.startswith("critic.")}
    mine, theirs = load_policy(tmp_path / "actor").policy.state_dict(), load_policy(tiny_tracker).policy.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs.keys() - gone)

    run = train(TRACKER, tmp_path, "again", "--checkpoint", tmp_path / "actor", "run.max_iterations=1")
    assert load(run).iteration == 1
    words = ["teachers", "train", "steering", "--results-dir", tmp_path, *TINY]
    refused = protege(*words, f"agent.expert_model_path={tmp_path / 'actor'}")
    assert refused.exit_code == 2
    assert "actor was released without its critic, which its learners need" in " ".join(refused.output.split())


def test_an_entry_may_be_without_its_weights(tiny_tracker: Path, stocked: Path, tmp_path: Path) -> None:
    place = tmp_path / "zoo"
    zoo("add", "large", "--checkpoint", tiny_tracker, "--zoo", place, "--recipe", RECIPE, "--no-weights")
    assert {path.name for path in (place / "large").iterdir()} == {"config.yaml", "card.md"}
    # Its checksum is that of the same policy's weights.
    assert z.find(place, "large").sha256["model.safetensors"] == z.find(stocked, "tiny").sha256["model.safetensors"]
    [_, line] = zoo("list", "--zoo", place).splitlines()
    assert line == "large  tracker  no, recipe only  nothing yet"
    assert zoo("verify", "--zoo", place) == "large: whole\n"
    expected = f"error: {place} has no weights of large, only its recipe. Train it: {RECIPE}\n"
    assert zoo("pull", "large", "--zoo", place, "--output", tmp_path / "other", code=2) == expected
    assert zoo("card", "large", "--zoo", place, code=2) == expected
    assert not (tmp_path / "other" / "large").exists()
    (place / "large" / "config.yaml").write_text("")
    assert "differs from its checksum" in zoo("verify", "--zoo", place, code=1)


def test_the_shipped_zoo_is_intact_and_small():
    folder = z.shipped()
    assert set(z.read_index(folder)) == {path.name for path in folder.iterdir() if path.is_dir()}
    assert not [problem for name in z.read_index(folder) for problem in z.verify(folder, name)]
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < 14e6


def test_the_shipped_zoos_list_names_the_simulators_of_results():
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
def test_an_unknown_shipped_policy_is_one_error_line(name):
    with pytest.raises(UserError, match=r"no policy zoo:.* is shipped\. protege-teachers zoo list"):
        load_policy(f"zoo:{name}")
