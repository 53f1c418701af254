"""Training of a student by two ranks."""

import numpy as np
from ranks import on_ranks
from student_ranks import train_student

from protege.core.runs.checkpoint import load


def test_both_ranks_have_the_same_student_and_resume_exactly(tmp_path):
    tasks = "curriculum=[{name: all, task_mix: {masked_mimic: 1, path: 1}}]"
    options = [tasks, "evaluation_interval=4", "evaluation_episodes=2", "weight_averaging=0.9"]
    whole = on_ranks(train_student, tmp_path / "whole", *options)
    on_ranks(train_student, tmp_path / "parts", *options, stop=True)
    assert load(tmp_path / "parts" / "student" / "last.ckpt").iteration == 2
    parts = on_ranks(train_student, tmp_path / "parts", *options)
    for name in ("student", "average"):
        for key, x in whole[0][name].items():
            for other in (whole[1], *parts):
                np.testing.assert_array_equal(other[name][key], x, err_msg=key)
    assert not np.array_equal(whole[0]["history"], whole[1]["history"])
    for one, again in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one["history"], again["history"])
        assert len(one["counts"]) == 1 and one["counts"][0].sum() > 0.0
        np.testing.assert_array_equal(one["counts"][0], whole[0]["counts"][0])
    assert "evaluation/path/success" in load(tmp_path / "whole" / "student" / "best.ckpt").metrics
