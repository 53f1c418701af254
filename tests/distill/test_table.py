"""The evaluation's table in the terminal."""

import pytest
from rich.console import Console

from protege.distill.table import print_table, short_names


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_cuts_no_cell(width):
    ci = [0.971, 1.0]
    clip = {
        "episodes": 64,
        "success": 1.0,
        "success_ci": ci,
        "strict_success": 0.99,
        "strict_success_ci": ci,
        "error": 0.1,
    }
    task = {
        "falls": 0,
        "failure_rule": "an episode fails if ...",
        "strict_failure_rule": "...",
        "error_name": "path_following_err",
    }
    task |= {"episodes": 1024, "success": 1.0, "success_ci": ci, "strict_success": 1.0, "strict_success_ci": ci}
    task |= {"error": 0.145, "error_unit": "m/s", "error_ci": [0.139, 0.152]}
    data = {"name": "student", "checkpoint": "zoo:student", "simulator": "mujoco", "seed": 0, "path_clock": "waiting"}
    clips = {"smpl_humanoid_a_very_long_name_of_a_clip": clip, "smpl_humanoid_walk": clip}
    data["tasks"] = {"path": task | {"clips": clips}, "masked_mimic/head_hands": task | {"clips": {}}}
    console = Console(width=width, record=True, force_terminal=False)
    print_table(data, console)
    text = console.export_text()
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    for cell in (
        "episodes",
        "1024",
        "[97.1, 100.0]",
        "path_following_err",
        "0.145 m/s",
        "[0.139, 0.152]",
        "head_hands",
    ):
        assert cell in text, cell
    assert "a_very_long_name_of_a_clip" in text
    assert "student, mujoco, seed 0, the path's clock waiting; [95 % intervals]" in " ".join(text.split())


def test_short_names_leave_out_the_common_prefix():
    assert short_names({"smpl_humanoid_walk": 1, "smpl_humanoid_walk_2": 2}) == {"walk": 1, "walk_2": 2}
    assert short_names({"walk": 1, "wave": 2}) == {"walk": 1, "wave": 2}
