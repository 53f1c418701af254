"""Write a task in one file and train its teacher: `python examples/new_task.py [key.path=value ...]`.

The task is to follow a clip of which the policy observes only the root's height. Your own package declares the task as an entry
point: `[project.entry-points."protege.tasks"] height = "new_task:TASKS"`. Here `install()` replaces the installation of a package.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from protege.core.robots.state import RobotState
from protege.core.tasks import InputSpec, Modality, Task
from protege.sim.tasks import terms
from protege.sim.tasks.motion_command import MotionCommand
from protege.sim.tasks.task import TaskContext, TaskTerms

SETTINGS = ["run.experiment_name=height_keeper", "run.max_iterations=2", "env.num_envs=16", "env.num_plans=8"]
SMALL = ["model.latent_dim=32", "model.ff_size=32", "model.num_layers=1", "agent.minibatches=1"]
SCRATCH = ["agent.expert_model_path="]  # or a tracker with the same sizes


@dataclass
class HeightParams:
    """The task's parameters, `env.height_params`."""

    tolerance: float = 0.25  # m
    rewards: dict[str, float] = field(default_factory=lambda: {"body_pos": 0.5, "height_kept": 0.5})

    def check(self, key: str) -> None:
        terms.check_rewards(self, key, REWARDS)


def observe(state: RobotState, inputs: Mapping[str, Tensor]) -> Tensor:
    """The policy's observation of the command: the commanded height minus the root's height, (N, 1) m."""
    return (inputs["height_w"] - state.root_pos_w[:, 2]).unsqueeze(1)


class HeightCommand(MotionCommand):
    """The commands of n envs: clips of which no pose is observed, only the root's height."""

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context, None, start_within=0.1 if context.evaluation else 1.0)
        self.pose_mask.zero_()
        self.shown = {"height": torch.ones(context.n, dtype=torch.bool, device=context.device)}

    def inputs(self) -> dict[str, Tensor]:
        return {"height_w": self.reference.now().root_pos_w[:, 2]}


def height_off(scene: terms.Scene) -> Tensor:
    """Vertical distance of the root from its commanded height, (n,) m."""
    return (scene.state.root_pos_w - scene.reference.root_pos_w)[:, 2].abs()


REWARDS = {**terms.TRACKING, "height_kept": lambda scene: torch.exp(-10.0 * height_off(scene))}


def build(context: TaskContext) -> TaskTerms:
    """Command, rewards, terminations, failure rules and metrics of some envs."""
    params = context.params
    rules = {"fallen": terms.fallen, "height_off": lambda scene: height_off(scene) > params.tolerance}
    metrics = {"height_err": lambda scene: (height_off(scene), torch.ones_like(height_off(scene)))}
    return TaskTerms(HeightCommand(context), terms.weighted(params.rewards, REWARDS), rules, rules, metrics)


INPUT = InputSpec("height_w", (), "m", "world", "commanded height of the root")
HEIGHT = Modality("height", shape=lambda params: (1,), inputs=lambda shape: (INPUT,), observe=observe)
TASKS = (
    Task(
        name="height", title="Keep a height", kind="height_keeper", option="height_keeping", config_class=HeightParams,
        config_key="height_params", build=build, metric="height_err", unit="m", modality=HEIGHT,
        failure_rule=lambda params: f"the root is over {params.tolerance:g} m from its height, or a fall",
    ),
)  # fmt: skip


def install(folder: Path) -> None:
    """Write what `pip install` of a package with this entry point would write."""
    info = folder / "new_task-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: new-task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protege.tasks]\nheight = new_task:TASKS\n")
    sys.path[:0] = [str(folder), str(Path(__file__).parent)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        install(Path(place))
        from protege.core.runs.training import train
        from protege.teachers.experiments import EXPERIMENTS

        run = train(EXPERIMENTS["height_keeper"], "height_keeper", [*SETTINGS, *SMALL, *SCRATCH, *sys.argv[1:]])
        print(run.folder / "last.ckpt")
