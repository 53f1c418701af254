"""Origins of motions: read from clips and other files, saved in checkpoints, passed on from teachers to students."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from motion_files import FRAMES, gmr
from tiny_runs import protege, train
from toy_env import ToyEnv

from protege.core.errors import UserError
from protege.core.motions import clip_files, load_clip, save_clip
from protege.core.motions.provenance import Origin, are_origins, clip_count, joined, origins, summed
from protege.core.runs.checkpoint import DIGEST, MISSING_FIELDS, Checkpoint, load, save, save_release
from protege.core.runs.checkpoint_checks import digest
from protege.sim.robots import get_robot

ORIGIN = {"name": "walk", "source": "a friend", "licence": "CC BY 4.0", "sha256": "0" * 64}
TRACKER = "full_body_tracker/transformer_flat_terrain"


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def clip(robot, tmp_path):
    """A clip with source and licence, for each robot."""
    own = load_clip(f"{robot.name}_humanoid_walk.npy", robot)
    return save_clip(tmp_path / "stroll.npy", replace(own, source="a friend", licence="CC BY 4.0"), robot)


def test_a_clips_origin_is_its_facts_and_digest(robot, clip):
    name = f"{robot.name}_humanoid_run.npy"
    (shipped,) = clip_files([name])
    found = origins([str(clip), name], robot)
    assert found[0] == Origin("stroll", "a friend", "CC BY 4.0", sha256(clip))
    assert (found[1].name, found[1].licence, found[1].sha256) == (name.removesuffix(".npy"), "", sha256(shipped))


def test_a_motion_file_of_another_format_has_an_origin(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTEGE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "dance.pkl"
    file.write_bytes(gmr(get_robot("g1")))
    (found,) = origins([str(file)], get_robot("g1"))
    assert (found.name, found.sha256) == ("dance", sha256(file))
    assert found.source.startswith("dance.pkl (") and sha256(file)[:16] in found.source


def test_a_missing_clip_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.npy"):
        origins([str(tmp_path / "nowhere.npy")], get_robot("smpl"))
    (tmp_path / "bad.npy").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"bad\.npy is a web page"):
        origins([str(tmp_path / "bad.npy")], get_robot("smpl"))


def test_source_and_licence_can_be_given_at_import(tmp_path):
    (tmp_path / "dance.pkl").write_bytes(gmr(get_robot("g1")))
    words = ("--robot", "g1", "--output", tmp_path / "clips")
    done = protege(
        "sim", "motions", "import", tmp_path / "dance.pkl", *words, "--source", "LAFAN1", "--licence", "CC BY-NC-ND 4.0"
    )
    assert done.exit_code == 0, done.output
    clip = load_clip(tmp_path / "clips" / "g1_dance.npy", get_robot("g1"))
    assert (clip.source, clip.licence, len(clip.time)) == ("LAFAN1", "CC BY-NC-ND 4.0", FRAMES)


def test_origins_are_joined_without_duplicates_in_order():
    other = {**ORIGIN, "name": "run"}
    assert joined([ORIGIN], [other, ORIGIN], [Origin(**ORIGIN)]) == [ORIGIN, other]
    assert are_origins([ORIGIN, other]) and are_origins([])
    for wrong in (None, [{**ORIGIN, "color": "red"}], [{**ORIGIN, "name": 3}], ["walk"], {"walk": ORIGIN}):
        assert not are_origins(wrong)


@pytest.fixture
def checkpoint() -> Checkpoint:
    robot, model = ToyEnv(2).robot, {"weight": torch.zeros(1)}
    return Checkpoint("tracker", {}, "toy", list(robot.joint_names), {"path": [1]}, model, motions=[ORIGIN])


def test_checkpoints_and_releases_save_origins(checkpoint, tmp_path):
    save(tmp_path / "last.ckpt", checkpoint)
    save_release(tmp_path / "release", checkpoint)
    assert load(tmp_path / "last.ckpt").motions == load(tmp_path / "release").motions == [ORIGIN]
    assert yaml.safe_load((tmp_path / "release" / "config.yaml").read_text())["motions"] == [ORIGIN]


def test_invalid_origins_are_refused(checkpoint, tmp_path):
    save(tmp_path / "last.ckpt", replace(checkpoint, motions=[{"name": "walk"}]))
    with pytest.raises(UserError, match="its motions is not a list of motions' origins"):
        load(tmp_path / "last.ckpt")


@pytest.mark.parametrize("form", MISSING_FIELDS)
def test_checkpoints_of_earlier_versions_have_no_origins(checkpoint, tmp_path, form):
    data = {name: x for name, x in vars(checkpoint).items() if name not in MISSING_FIELDS[form]}
    torch.save({"format": form, DIGEST: digest(data), **data}, tmp_path / "last.ckpt")
    assert load(tmp_path / "last.ckpt").motions == []


def test_a_student_records_its_teachers_motions(clip, robot, tmp_path):
    """A tracker of one clip, a MaskedMimic that imitates it on another, and a resumed run."""
    words = ("--max-iterations", 1, "--robot", robot.name)
    tracker = train(TRACKER, tmp_path, "tracker", *words, f"run.motion_file=[{clip}]")
    (own,) = load(tracker).motions
    assert own == {"name": "stroll", "source": "a friend", "licence": "CC BY 4.0", "sha256": sha256(clip)}
    again = f"{robot.name}_humanoid_walk.npy"
    pupil = ("masked_mimic/path_follower", tmp_path, "pupil")
    more = ("--robot", robot.name, f"run.motion_file=[{again}]", f"agent.expert_model_path={tracker}")
    for iterations in (1, 2):
        taught = train(*pupil, "--max-iterations", iterations, *more)
        assert [one["name"] for one in load(taught).motions] == [again.removesuffix(".npy"), "stroll"]
    assert json.loads(json.dumps(load(taught).motions))[1] == own
    assert np.isfinite(load(taught).seconds)


def test_many_clips_are_summed_by_source_and_licence():
    many = [Origin("a", "A", "free", "1"), Origin("b", "B", "", "2"), Origin("c", "A", "free", "3")]
    assert summed(many) == [Origin("2 clips", "A", "free"), Origin("1 clip", "B", "")]
    assert [clip_count(one) for one in joined(summed(many))] == [2, 1]
    assert [clip_count({**ORIGIN, "name": name}) for name in ("walk", "3 clips")] == [1, 1]
