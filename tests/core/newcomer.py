"""A newcomer who types what the pages say, block by block, each in a fresh shell: nothing is added but small budgets."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNNABLE = "<!-- runnable -->"
TRAINING = "--max-iterations 1 --num-envs 4 agent.rollout_steps=4 agent.minibatches=1 env.num_plans=8"
BUDGETS = {
    "protege core train": TRAINING,
    "protege teachers train": TRAINING,
    "protege distill train": f"{TRAINING} agent.evaluation_episodes=4",
    "protege distill evaluate": "--num-episodes 1 --num-envs 1",
    "protege evaluate": "--num-episodes 1 --num-envs 1",
    # A busy machine does a simulated robot no harm.
    "protege deploy run": "--seconds 1 --limit stall=off --limit missed_deadlines=off",
}


def lines_of(block: str) -> list[str]:
    """The lines of a block, those that end in a backslash joined."""
    return re.sub(r"\\\n\s*", "", block).splitlines()


def with_budget(line: str) -> str:
    """A command that trains, evaluates or runs, for a moment."""
    return " ".join([line, *(more for start, more in BUDGETS.items() if line.startswith(start))])


def runnable(page: str) -> Iterator[str]:
    """What a shell is to be given for each block of a page that says that it may be run."""
    for language, body in re.findall(rf"^{RUNNABLE}\n```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        if language == "python":
            yield f"python - <<'END'\n{body}END"
        else:
            yield "\n".join(with_budget(line.split("  #")[0]) for line in lines_of(body))


class Newcomer:
    """Works in a folder with an environment and the examples, and knows no more than what is typed.

    Args:
        home: an empty folder.
        activated: whether the environment's commands are on the path.
    """

    def __init__(self, home: Path, activated: bool) -> None:
        (home / ".venv").symlink_to(sys.prefix)
        (home / "examples").symlink_to(ROOT / "examples")
        own = Path(sys.prefix, "bin").resolve()
        path = [part for part in os.environ["PATH"].split(":") if Path(part).resolve() != own]
        self.home = home
        self.environment = {
            "HOME": str(home),
            "PATH": ":".join([f"{sys.prefix}/bin", *path] if activated else path),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
        }

    def type(self, script: str) -> str:
        """Run a script in a new bash; what it prints."""
        command = ["bash", "-e", "-c", script]
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout
