"""The comparison with mjlab: the parts that need neither a GPU nor mjlab."""

import json

import bench_mjlab
import pytest
from click.testing import CliRunner


def test_the_rate_is_that_of_the_second_half():
    """10 s in all: from 4 s, the last iteration that ended in the first half, 900 steps in 6 s."""
    curve = [(2.0, 10), (4.0, 100), (5.5, 500), (10.0, 1000)]
    found = bench_mjlab.speed(1.5, curve)
    assert found == {"first update s": 1.5, "training s": 10.0, "env steps": 1000, "env steps/s": pytest.approx(150.0)}
    assert bench_mjlab.speed(None, [(8.0, 80)])["env steps/s"] == 10.0


def test_both_are_shown_side_by_side(tmp_path, monkeypatch):
    given = {}

    def fake(clip, output, overrides, **options):
        given.update(options, clip=clip, overrides=overrides)
        return bench_mjlab.speed(2.0, [(10.0, 5000)])

    monkeypatch.setattr(bench_mjlab, "train_ours", fake)
    (tmp_path / "mjlab.json").write_text(json.dumps({"first update s": 4.0, "success, mjlab": 1.0}))
    options = ["--only=ours", f"--output={tmp_path}", "--seconds=10", "--set", "agent.gamma=0.98"]
    done = CliRunner().invoke(bench_mjlab.main, ["walk.npy", *options])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert lines[0] == ["ours", "mjlab"] and lines[1] == ["first", "update", "s", "2.000", "4.000"]
    assert ["success,", "mjlab", "1.000"] in lines
    assert (given["clip"], given["seconds"], given["overrides"]) == ("walk.npy", 10.0, ("agent.gamma=0.98",))
