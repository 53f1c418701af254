"""A task of another package, whole in one file: keep the root at its height in a clip; that height is the only input."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from protege.core import checks
from protege.core.robots.state import RobotState
from protege.core.tasks import InputSpec, Modality, Task
from protege.sim.tasks import terms
from protege.sim.tasks.motion_command import MotionCommand
from protege.sim.tasks.task import TaskContext, TaskTerms
from protege.sim.tasks.terms import Scene


def install(folder: Path) -> None:
    """Write the metadata that `pip install` of a package with this file would: with `folder` on the path, the task is there."""
    info = folder / "toy_task-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protege.tasks]\ntoy = toy_task:TASKS\n")


@dataclass
class HeightParams:
    """Keeping the root at a height.

    Attributes:
        tolerance: an evaluation fails if the root is further from its height than this, m.
        rewards: weight of each reward term.
    """

    tolerance: float = 0.25
    rewards: dict[str, float] = field(default_factory=lambda: {"body_pos": 0.5, "height_kept": 0.5})

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "tolerance")
        terms.check_rewards(self, key, REWARDS)


def observe(state: RobotState, inputs: Mapping[str, Tensor]) -> Tensor:
    """How much higher the root should be, (N, 1) m."""
    return (inputs["height_w"] - state.root_pos_w[:, 2]).unsqueeze(1)


HEIGHT = Modality(
    name="height",
    shape=lambda params: (1,),
    inputs=lambda shape: (InputSpec("height_w", (), "m", "world", "how high the root should be"),),
    observe=observe,
)


class HeightCommand(MotionCommand):
    """Clips of which no pose is shown, only the root's height."""

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context, None, start_within=0.1 if context.evaluation else 1.0)
        self.pose_mask.zero_()
        self.shown = {"height": torch.ones(context.n, dtype=torch.bool, device=context.device)}

    def inputs(self) -> dict[str, Tensor]:
        return {"height_w": self.reference.now().root_pos_w[:, 2]}


def height_off(scene: Scene) -> Tensor:
    """Vertical distance of the root from the commanded height, (n,) m."""
    return (scene.state.root_pos_w - scene.reference.root_pos_w)[:, 2].abs()


def height_kept(scene: Scene) -> Tensor:
    """exp(-10 x that distance)."""
    return torch.exp(-10.0 * height_off(scene))


def height_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """That distance, m."""
    error = height_off(scene)
    return error, torch.ones_like(error)


REWARDS = {**terms.TRACKING, "height_kept": height_kept}


def build(context: TaskContext) -> TaskTerms:
    """The task of some envs."""
    params: HeightParams = context.params
    rules = {"fallen": terms.fallen, "height_off": lambda scene: height_off(scene) > params.tolerance}
    return TaskTerms(
        command=HeightCommand(context),
        rewards=terms.weighted(params.rewards, REWARDS),
        terminations=rules,
        failures=rules,
        metrics={"height_err": height_err},
    )


TASKS = (
    Task(
        name="height",
        title="Keep a height",
        kind="height_keeper",
        option="height_keeping",
        config_class=HeightParams,
        config_key="height_params",
        build=build,
        metric="height_err",
        unit="m",
        failure_rule=lambda params: f"the root is over {params.tolerance:g} m from its height, or a fall",
        modality=HEIGHT,
    ),
)
"""What the entry point names."""
