"""A newcomer who types what the pages say, block by block, each in a fresh shell: nothing is added but small budgets."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAINING = "--max-iterations 1 --num-envs 4 --simulator mujoco run.device=cpu run.max_time=null"
PPO = f"{TRAINING} agent.rollout_steps=4 agent.minibatches=1 env.num_plans=8"
WORLD_MODEL = (
    f"{TRAINING} agent.model_units=[16] agent.imagined_envs=4 agent.model_batch=4 agent.warmup_steps=12 "
    "agent.replay_steps=16 agent.warmup_updates=1 agent.model_updates=1 agent.policy_updates=1 agent.horizon=3"
)
BUDGETS = {
    r"protege (core|teachers) train \S+/(world_model|robust)": WORLD_MODEL,
    r"(core|teachers) train (?!\S+/(world_model|robust))": PPO,
    r"protege distill train (?!distillation/world_model)": f"{PPO} agent.evaluation_episodes=4",
    r"protege distill train distillation/world_model": WORLD_MODEL,
    r"protege (distill )?evaluate": "--num-episodes 1 --num-envs 1 env.episode_length_s=0.5",
    r"protege distill robustness": "--num-episodes 1 --num-envs 1 --rounds 0 --simulator mujoco --task path --factor friction "
    "env.episode_length_s=0.5",
    # A busy machine does a simulated robot no harm.
    r"protege deploy run": "--seconds 1 --limit stall=off --limit missed_deadlines=off",
    r"protege deploy view": "--seconds 1 --port 0",
    r"protege sim motions play": "--seconds 0.1 --size 160x120",
    r"protege sim motions attempt": "--seconds 0.2",
    r"protege deploy check": "--num-states 20",
    r"python scripts/evaluate_export.py": "--num-episodes 1 --task path",
    r"python scripts/profile_training.py": "--max-iterations 2",
}
"""What a line that matches is followed by, so that it ends in seconds. Of an argument that is given twice the second applies."""


def blocks(page: str) -> Iterator[tuple[str, list[str]]]:
    """Language and lines of each block of a shell or of Python, lines that end in a backslash joined."""
    for language, body in re.findall(r"^ *```(sh|python)\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL):
        yield language, lines_of(textwrap.dedent(body))


def lines_of(block: str) -> list[str]:
    """The lines of a block, those that end in a backslash joined."""
    return re.sub(r"\\\n\s*", "", block).splitlines()


def with_budget(line: str) -> str:
    """A command that trains, evaluates or runs, for a moment."""
    line = line.split("  #")[0]
    return " ".join([line, *(more for start, more in BUDGETS.items() if re.search(start, line))])


class Newcomer:
    """Works in a folder with an environment, the examples and the scripts, and knows no more than what is typed.

    Args:
        home: an empty folder.
        activated: whether the environment's commands are on the path.
        programs: a folder of programs that come before them.
    """

    def __init__(self, home: Path, activated: bool, programs: Path | None = None) -> None:
        (home / ".venv").symlink_to(sys.prefix)
        for folder in ("examples", "scripts"):
            (home / folder).symlink_to(ROOT / folder)
        own = Path(sys.prefix, "bin").resolve()
        path = [part for part in os.environ["PATH"].split(":") if Path(part).resolve() != own]
        self.home = home
        self.environment = {
            "HOME": str(home),
            "WARP_CACHE_PATH": str(Path.home() / ".cache/warp"),  # compiling takes a minute
            "PATH": ":".join([*[str(programs)] * bool(programs), *[f"{sys.prefix}/bin"] * activated, *path]),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
        }

    def type(self, script: str) -> str:
        """Run a script in a new bash; what it prints."""
        command = ["bash", "-e", "-c", script]
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout
