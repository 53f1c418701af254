"""The README's commands, run block by block, each in a new shell; only small budgets are added."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1].joinpath("README.md").read_text()
BLOCKS = [
    body for language, body in re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if language == "sh"
]

# Lines with these beginnings or endings are not run here.
LEFT_OUT = {
    "make demo": "trains for minutes; tests/core/test_pipeline.py runs pipelines",
    "make test": "runs this test",
    "--commands keyboard --record results/run.npz": "waits for keys",
}
TRAINING = "--max-iterations 1 --num-envs 4 agent.rollout_steps=4 agent.minibatches=1 env.num_plans=8"
BUDGETS = {
    "protege core train": TRAINING,
    "protege teachers train": TRAINING,
    "protege distill train": f"{TRAINING} agent.evaluation_episodes=4",
    "protege distill evaluate": "--num-episodes 1 --num-envs 1",
    # Missed deadlines on a busy machine do not matter in simulation.
    "protege deploy run": "--seconds 1 --limit stall=off --limit missed_deadlines=off",
}


def typed(block: str) -> list[str]:
    """The lines of a block that are run, with small budgets."""
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    included = [line for line in lines if not any(line.startswith(part) or line.endswith(part) for part in LEFT_OUT)]
    return [" ".join([line, *(more for start, more in BUDGETS.items() if line.startswith(start))]) for line in included]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory):
    """Runs a block in a new bash without the environment's variables, and returns its output."""
    home = tmp_path_factory.mktemp("newcomer")
    (home / ".venv").symlink_to(sys.prefix)
    path = [part for part in os.environ["PATH"].split(":") if Path(part).resolve() != Path(sys.prefix, "bin").resolve()]
    environment = {"HOME": str(home), "PATH": ":".join(path), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

    def run(block: str) -> str:
        command = ["bash", "-e", "-c", "\n".join(typed(block))]
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def shape(lines: list[str]) -> list[str]:
    """The lines without numbers, and without notes on missed deadlines."""
    return [re.sub(r"\d+(\.\d+)?", "N", re.sub(r"(missed), the worst by .*", r"\1", line)) for line in lines]


def test_every_line_except_those_left_out_is_run() -> None:
    lines = [line for block in BLOCKS for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    for part in LEFT_OUT:
        assert sum(line.startswith(part) or line.endswith(part) for line in lines) == 1, part
    assert sum(len(typed(block)) for block in BLOCKS) == len(lines) - len(LEFT_OUT)


def test_a_shipped_student_walks_and_prints_what_the_readme_shows(shell) -> None:
    [block] = [block for block in BLOCKS if "zoo:student" in block]
    export, *printed = shell(block).splitlines()
    assert export == "results/onnx"
    [sample] = re.findall(r"^```\n(wake .*?)^```", README, re.MULTILINE | re.DOTALL)
    assert shape(printed) == shape(sample.splitlines())
    assert "stood" in sample


def test_the_four_steps_run_as_in_the_readme(shell) -> None:
    [block] = [block for block in BLOCKS if "smpl_unified_lightweight" in block]
    printed = shell(block)
    for run in ("tracker", "masked_mimic", "path_follower", "goal_directed", "steering", "unified_lightweight"):
        assert f"results/smpl_{run}/last.ckpt" in printed
    assert "results/smpl_unified_lightweight/evaluation/evaluation.html" in printed.replace("\n", "")
    assert "deadlines" in printed
