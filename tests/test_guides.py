"""The guides' blocks that are marked as runnable, and the examples, with small budgets."""

import subprocess
import sys
from pathlib import Path

import pytest
from newcomer import ROOT, RUNNABLE, Newcomer, runnable

GUIDES = [page for page in sorted((ROOT / "docs").glob("*.md")) if RUNNABLE in page.read_text()]
EXAMPLES = {
    "train_from_python": ["run.max_iterations=2", "env.num_envs=8", "agent.minibatches=1", "run.device=cpu"],
    "load_policy": ["zoo:small_tracker", "track"],
    "new_task": ["run.device=cpu", "env.num_envs=8"],
    "new_reward": ["run.device=cpu", "env.num_envs=8"],
    "own_loop": ["results/onnx"],
}
OUTPUT = {
    "train_from_python": "done: results/from_python/last.ckpt",
    "load_policy": "track: success",
    "new_task": "results/height_keeper/last.ckpt",
    "new_reward": "results/upright_walker/last.ckpt",
    "own_loop": "after 3.0 s at (3.",
}


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """A newcomer who has exported the shipped student."""
    someone = Newcomer(tmp_path_factory.mktemp("newcomer"), activated=True)
    someone.type("protege deploy export --checkpoint zoo:student --output results/onnx")
    return someone


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_runs(page: Path, newcomer: Newcomer) -> None:
    text = page.read_text()
    scripts = list(runnable(text))
    assert len(scripts) == text.count(RUNNABLE), "a block to run begins in the line after its mark"
    for script in scripts:
        if "python examples/" not in script:  # those are run below
            newcomer.type(script)


def test_these_guides_have_runnable_blocks() -> None:
    assert {"demo", "first_clip", "first_robot", "deployment", "realtime", "robustness"} <= {
        page.stem for page in GUIDES
    }


def test_every_example_is_run() -> None:
    assert set(EXAMPLES) == set(OUTPUT) == {file.stem for file in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, newcomer: Newcomer) -> None:
    printed = newcomer.type(" ".join(["python", f"examples/{name}.py", *(f"'{word}'" for word in EXAMPLES[name])]))
    assert OUTPUT[name] in printed


def test_the_loop_of_the_example_imports_no_torch(newcomer: Newcomer) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import own_loop; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=newcomer.home, check=True)
