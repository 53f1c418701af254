"""Success of each of many clips: by hand, and in a training's log."""

import json
import math

import pytest
import torch
from many_clips import many
from tiny_runs import TRACKER, train

from protege.core.motions import save_clip
from protege.core.runs.checkpoint import load
from protege.core.runs.clip_success import MAX_CLIP_METRICS, MEMORY_EPISODES, NUM_WORST_CLIPS, ClipSuccess


def episodes(clips: list[int], failed: list[bool]) -> dict[str, torch.Tensor]:
    return {"clip": torch.tensor(clips), "failed": torch.tensor(failed)}


def test_old_successes_decay_and_the_worst_clips_come_first():
    success = ClipSuccess(["a", "b", "c", "d"])
    assert success.count(episodes([0, 0, -1], [True, False, True])) == {} and success.worst() == {}
    metrics = success.count(episodes([0, 0, 1, 1, 1, 1, 2, 2], [True, True, False, False, False, True, True, True]))
    fade = math.exp(-2.0 / MEMORY_EPISODES)
    a = fade / (2.0 * fade + 2.0)
    assert success.worst() == {"a": round(a, 3), "b": 0.75}, "c was played twice, d never"
    assert metrics == pytest.approx(
        {
            "success/mean_of_clips": (a + 0.75) / 2,
            "success/worst_clips": (round(a, 3) + 0.75) / 2,
            "success/clips_seen": 0.5,
        }
    )
    assert success.lines() == [f"a   {round(a, 3):.1%}", "b   75.0%"]
    other = ClipSuccess(["a", "b", "c", "d"])
    other.load_state_dict(success.state_dict())
    assert other.worst() == success.worst()


def test_a_training_of_many_clips_names_the_worst_and_has_no_metric_for_each(robot, tmp_path):
    for clip in many(robot, MAX_CLIP_METRICS + 1):
        save_clip(tmp_path / "clips" / clip.name, clip)
    words = [f"run.robot={robot.name}", f"motion_file=[{tmp_path}/clips]", "env.episode_length_s=0.1"]
    folder = train(TRACKER, tmp_path, "many", *words, "agent.rollout_steps=64", "run.max_iterations=3")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {key for row in rows for key in row if key.startswith("success/")} == {
        "success/mean_of_clips", "success/worst_clips", "success/clips_seen",
    }  # fmt: skip
    assert 0 < len(rows[-1]["worst_clips"]) <= NUM_WORST_CLIPS
    assert sorted(rows[-1]["worst_clips"].values()) == list(rows[-1]["worst_clips"].values())
    assert load(folder).training["trainer"]["clip_success"].shape == (2, MAX_CLIP_METRICS + 1)
