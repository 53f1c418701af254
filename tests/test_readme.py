"""The README's commands, run block by block, each in a new shell; only small budgets are added."""

import re

import pytest
from newcomer import ROOT, Newcomer, lines_of, with_budget

README = (ROOT / "README.md").read_text()
BLOCKS = [
    body for language, body in re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if language == "sh"
]

# Lines with these beginnings or endings are not run here.
LEFT_OUT = {
    "make demo": "trains for minutes; tests/core/test_pipeline.py runs pipelines",
    "make test": "runs this test",
    "--commands keyboard --record results/run.npz": "waits for keys",
}


def typed(block: str) -> list[str]:
    """The lines of a block that are run, with their budgets."""
    lines = [line for line in lines_of(block) if not any(line.startswith(x) or line.endswith(x) for x in LEFT_OUT)]
    return [with_budget(line) for line in lines]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    return Newcomer(tmp_path_factory.mktemp("newcomer"), activated=False)


def shape(lines: list[str]) -> list[str]:
    """The lines without numbers, and without notes on missed deadlines."""
    return [re.sub(r"\d+(\.\d+)?", "N", re.sub(r"(missed), the worst by .*", r"\1", line)) for line in lines]


def test_every_line_except_those_left_out_is_run() -> None:
    lines = [line for block in BLOCKS for line in lines_of(block)]
    for part in LEFT_OUT:
        assert sum(line.startswith(part) or line.endswith(part) for line in lines) == 1, part
    assert sum(len(typed(block)) for block in BLOCKS) == len(lines) - len(LEFT_OUT)


def test_a_shipped_student_walks_and_prints_what_the_readme_shows(newcomer: Newcomer) -> None:
    [block] = [block for block in BLOCKS if "zoo:student" in block]
    export, *printed = newcomer.type("\n".join(typed(block))).splitlines()
    assert export == "results/onnx"
    [sample] = re.findall(r"^```\n(wake .*?)^```", README, re.MULTILINE | re.DOTALL)
    assert shape(printed) == shape(sample.splitlines())
    assert "stood" in sample


def test_the_four_steps_run_as_in_the_readme(newcomer: Newcomer) -> None:
    [block] = [block for block in BLOCKS if "smpl_unified_lightweight" in block]
    printed = newcomer.type("\n".join(typed(block)))
    for run in ("tracker", "masked_mimic", "path_follower", "goal_directed", "steering", "unified_lightweight"):
        assert f"results/smpl_{run}/last.ckpt" in printed
    assert "results/smpl_unified_lightweight/evaluation/evaluation.html" in printed.replace("\n", "")
    assert "deadlines" in printed
