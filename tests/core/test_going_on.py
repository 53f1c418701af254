"""Trainings that cannot be resumed, by command line: a full disk, other clips, another expert, a second start."""

import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from click.testing import Result
from tiny_runs import TINY, TINY_MASKED_MIMIC, TRACKER, protege, snapshot, train

from protege.core.motions.clip import clip_files
from protege.core.runs.checkpoint import load, save
from protege.core.runs.lock import locked

WALK = "smpl_humanoid_walk.npy"


def go_on(results: Path, iterations: int, *words: object, preset: str = TRACKER) -> Result:
    """Run the same command again."""
    tiny = TINY_MASKED_MIMIC if preset.startswith("masked_mimic") else TINY
    where = ["--results-dir", results, "--experiment-name", "a", "--max-iterations", iterations]
    return protege("core", "train", preset, *where, *tiny, *words)


def refused(result: Result, *named: object) -> None:
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert all(str(word) in result.stderr for word in named), result.stderr


def test_a_full_disk_ends_a_training_and_leaves_its_last_checkpoint(tmp_path):
    assert go_on(tmp_path, 2).exit_code == 0
    last = tmp_path / "a" / "last.ckpt"
    before = last.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        result = go_on(tmp_path, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert result.stderr.splitlines()[-1] == f"error: cannot write {last} (File too large). Is the disk full?"
    assert last.read_bytes() == before
    assert not list((tmp_path / "a").glob(".*"))
    assert go_on(tmp_path, 4).exit_code == 0 and load(last).iteration == 4


def test_another_clip_under_the_same_path_is_refused(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    shutil.copy(clip_files([WALK])[0], clips / "walk.npy")
    words = ["--motion-file", clips]
    assert go_on(tmp_path, 1, *words).exit_code == 0
    shutil.copytree(clips, tmp_path / "backup")
    before = snapshot(tmp_path / "a")

    data = np.load(clips / "walk.npy")
    data["joint_pos"][-1, 0] += 1e-6
    np.save(clips / "walk.npy", data)
    refused(go_on(tmp_path, 2, *words), clips / "walk.npy", "has changed since", tmp_path / "a" / "last.ckpt")
    shutil.copy(tmp_path / "backup" / "walk.npy", clips)
    shutil.copy(clip_files(["smpl_humanoid_run.npy"])[0], clips / "run.npy")
    refused(go_on(tmp_path, 2, *words), clips / "run.npy", "is new")
    assert snapshot(tmp_path / "a") == before

    (clips / "run.npy").unlink()
    assert go_on(tmp_path, 2, *words).exit_code == 0


def test_another_expert_under_the_same_path_is_refused(tiny_tracker, tmp_path):
    tracker = Path(shutil.copytree(tiny_tracker, tmp_path / "tracker"))
    words = [f"agent.expert_model_path={tracker}"]
    preset = "masked_mimic/path_follower"
    train(preset, tmp_path, "a", *words, "run.max_iterations=1")
    saved = load(tracker)
    model = dict(saved.model)
    name = next(name for name, x in model.items() if x.is_floating_point() and x.dim() == 2)
    model[name] = model[name] + 1e-6
    save(tracker / "last.ckpt", replace(saved, model=model))
    refused(go_on(tmp_path, 2, *words, preset=preset), tracker, "has changed since", "--experiment-name")
    # The same weights in another file are the same expert.
    save(tracker / "last.ckpt", replace(saved, iteration=7, training={}))
    assert go_on(tmp_path, 2, *words, preset=preset).exit_code == 0


def test_a_second_start_in_a_run_folder_is_refused(tmp_path):
    with locked(tmp_path / "a"):
        refused(go_on(tmp_path, 1), tmp_path / "a", f"is in use by process {os.getpid()} on")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path):
    refused(go_on(tmp_path, 1, "--motion-file", tmp_path / "none.npy"), "none.npy")
    assert list(tmp_path.iterdir()) == []
