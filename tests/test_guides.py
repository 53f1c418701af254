"""The commands of all pages and the examples, with small budgets."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import deepmimic_clips
import kneed
import motion_files
import pytest
import walkers
from forked_commands import link, server
from newcomer import ROOT, Newcomer, blocks, with_budget

from protege.sim.robots import get_robot

PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if list(blocks(page.read_text()))]
LEFT_OUT = {
    r"git clone": "the newcomer is in a clone",
    r"make ": "installs; a newcomer's whole hour is measured outside the tests",
    r"exec ": "opens another shell",
    r"uv build|pip install": "tests/test_wheels.py builds and installs the wheels",
    r"pip download": "needs a network; a wheel with the same layout is here",
    r"protege pipeline": "takes minutes; tests/core/test_pipeline.py and test_readme.py run the steps",
    r"tensorboard": "runs until it is stopped",
    r"torchrun --nnodes": "needs two machines; tests/core/test_distributed.py has two ranks",
    r"#!|#SBATCH|srun": "needs SLURM; tests/core/test_distributed.py sets its variables",
    r"isaaclab train": "tests/sim/test_isaaclab_env.py runs it",
    r".*--commands keyboard": "waits for keys",
    r".*--robot udp:0": "waits for a robot; tests/deploy/test_udp_trust.py has one",
}
"""Lines with these beginnings are not run, and why."""
SMALLER = {
    "--nproc-per-node 8": "--nproc-per-node 2",
    "--skip 25": "--skip 1",
    "simulate --robot g1": "simulate --robot g1 --domain 87 --seconds 12 & sleep 3",
    "unitree:lo": "unitree:lo:87 --soft-start 50",
    "run.max_iterations=null": "run.max_iterations=1",
    "mujoco,mjwarp,isaaclab": "mujoco,mjwarp,isaaclab --task path",
    "env.mismatch.physics_rate=400": "env.mismatch.physics_rate=400 --task path",
    "--test-share 0.1": "--test-share 0.5",
}
"""What is replaced: sizes, durations, and for the simulated robot the domain, which no other test uses."""
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
STEPS = """
protege core train full_body_tracker/transformer_flat_terrain
protege core train masked_mimic/path_follower
protege teachers train path_follower
protege teachers train goal_directed
protege teachers train steering
"""
BEFORE = {
    "configuration": "protege core train full_body_tracker/laptop --experiment-name old",
    "distillation": "cp -r results/smpl_path_follower results/smpl_path_follower_2",
    "commands": "rm -r results/smpl_[pgs]*",
    "libraries": "protege sim motions import walk.npy --robot smpl\nprotege sim motions import dance.bvh --robot smpl",
    "realtime": "protege deploy run results/onnx --task path --record results/a.npz\ncp results/a.npz results/b.npz",
    "robustness": "protege distill train distillation/robust\ncp -r results/smpl_robust results/smpl_unified_lightweight",
    "world_model": "protege distill train distillation/unified_lightweight --experiment-name smpl_unified_lightweight\n"
    "rm -r results/smpl_[tmpgs]*\nprotege core train full_body_tracker/world_model",
}
"""What has been typed before a page, after the first three steps."""


def script_of(language: str, lines: list[str]) -> str:
    """What a shell is given for a block."""
    if language == "python":
        return "\n".join(["python - <<'END'", *lines, "END"])
    typed = []
    for line in lines:
        if not any(re.match(start, line) for start in LEFT_OUT):
            line = with_budget(line)
            for large, small in SMALLER.items():
                line = line.replace(large, small)
            typed.append(line)
    return "\n".join(typed)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Protégé's programs, which need not import torch each time."""
    folder = tmp_path_factory.mktemp("programs")
    with server(folder / "socket") as address:
        link(folder / "bin", address)
        yield folder / "bin"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    """Trained teachers and an exported student, as after earlier pages."""
    someone = Newcomer(tmp_path_factory.mktemp("before"), activated=True, programs=programs)
    someone.type("\n".join(map(with_budget, STEPS.splitlines())))
    someone.type("protege deploy export --checkpoint zoo:student --output results/onnx")
    return someone.home / "results"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a user brings."""
    folder, walk = tmp_path_factory.mktemp("files"), walkers.as_bvh(walkers.walk(1.5).motion).encode()
    for name in ("AMASS/CMU", ".config/fish/completions"):
        (folder / name).mkdir(parents=True)
    for name, data in {
        "walk.npy": motion_files.poselib(),
        "AMASS/CMU/walk.npz": motion_files.amass(),
        "dance1_subject2.csv": motion_files.csv(get_robot("g1")),
        "dance.bvh": walk,
        "walk.bvh": walk,
    }.items():
        (folder / name).write_bytes(data)
    with ZipFile(folder / "pybullet-3.2.7-cp311-cp311-linux.whl", "w") as wheel:
        for name in ("walk", "spinkick"):
            wheel.writestr(f"data/motions/humanoid3d_{name}.txt", deepmimic_clips.walk())
    robot = kneed.write(folder / "my_robot")
    robot.write_text(robot.read_text().replace("name: kneed", "name: my_robot"))
    return folder


@pytest.fixture
def newcomer(tmp_path: Path, results: Path, files: Path, programs: Path) -> Newcomer:
    """A newcomer who has read the pages before."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    shutil.copytree(results, tmp_path / "results")
    return Newcomer(tmp_path, activated=True, programs=programs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, newcomer: Newcomer, need: Callable[[str], None]) -> None:
    if "motions play" in page.read_text():
        need("gl")
    for language, lines in [("sh", BEFORE.get(page.stem, "").splitlines()), *blocks(page.read_text())]:
        newcomer.type(script_of(language, lines))


def test_what_is_left_out_is_on_a_page() -> None:
    lines = [line for page in PAGES for _, lines in blocks(page.read_text()) for line in lines]
    for start in LEFT_OUT:
        assert any(re.match(start, line) for line in lines), start
    for large in SMALLER:
        assert any(large in line for line in lines), large


def test_every_example_is_run() -> None:
    assert set(EXAMPLES) == set(OUTPUT) == {file.stem for file in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, newcomer: Newcomer) -> None:
    printed = newcomer.type(" ".join(["python", f"examples/{name}.py", *(f"'{word}'" for word in EXAMPLES[name])]))
    assert OUTPUT[name] in printed


def test_the_loop_of_the_example_imports_no_torch(newcomer: Newcomer) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import own_loop; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=newcomer.home, check=True)
