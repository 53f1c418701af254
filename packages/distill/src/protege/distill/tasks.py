"""What is measured on each task, and when an episode of it has failed."""

from collections.abc import Callable
from dataclasses import dataclass
from math import degrees

from protege.sim.env_config import EnvConfig, MaskParams
from protege.sim.tasks import path_rules as rules


@dataclass(frozen=True)
class TaskFacts:
    """A task as its evaluation sees it.

    Attributes:
        title: for people.
        error, unit: the name of its metric.
        column: of the episodes, an episode's error.
        failure: the failure rule as text.
        limit: an episode whose largest error exceeds this has failed by the stricter rule; None for no such rule.
    """

    title: str
    error: str
    unit: str
    column: str
    failure: Callable[[EnvConfig], str]
    limit: float | None = None

    @property
    def strict_failure(self) -> str | None:
        """The stricter rule as text."""
        return f"{self.error} exceeds {self.limit:g} {self.unit} at any time, or fails" if self.limit else None


def _tracking(title: str) -> TaskFacts:
    rule = "the mean body position error exceeds 0.5 m"
    return TaskFacts(title, "cartesian_err", "m", "cartesian_err/mean", lambda _: rule, 0.25)


def _goal(env: EnvConfig) -> str:
    return f"the pelvis is over {env.goal_params.success_distance:g} m from the goal at the deadline, or a fall"


def _path(env: EnvConfig) -> str:
    rule = f"the pelvis is over {rules.OFF_PATH:g} m from the path's point of the time, or a fall"
    if env.path_follower_params.clock == "fixed":
        return rule
    lost = f"over {rules.ASTRAY:g} m for {rules.ASTRAY_TIME:g} s"
    late = f"not within {rules.ARRIVED:g} m of the path's end in {rules.TIME_LIMIT:g} times its duration"
    return f"{rule}, {lost}, or {late}; the path's clock waits for the robot"


def _steering(env: EnvConfig) -> str:
    params = env.steering_params
    angle = f"{degrees(params.max_heading_error):.0f}°"
    return f"the heading is over {angle} off {params.settle_time:g} s or more after a change of command, or a fall"


TASK_FACTS = {
    "track": _tracking("Track a clip"),
    "masked_mimic": _tracking("Track a partly hidden clip"),
    "path": TaskFacts(
        "Follow a path",
        "path_following_err",
        "m",
        "path_following_err/mean",
        _path,
        0.5,
    ),
    "goal": TaskFacts("Reach a goal", "goal_reaching_err", "m", "goal_reaching_err/last", _goal),
    "steering": TaskFacts("Obey steering", "steering_err", "m/s", "steering_err/mean", _steering),
}

PATTERNS = {
    "head_hands": "head and hands",
    "root": "the pelvis",
    "hands": "the hands",
    "feet": "the feet",
    "inbetween": "the furthest pose",
}
"""Patterns of `MaskParams` that are evaluated on their own, as the tasks `masked_mimic/PATTERN`, in all future frames."""

TASK_FACTS |= {f"masked_mimic/{name}": _tracking(f"Track a clip by {shown}") for name, shown in PATTERNS.items()}


def env_task(task: str) -> str:
    """The environment's task: `masked_mimic/feet` -> `masked_mimic`."""
    return task.partition("/")[0]


def env_overrides(task: str) -> dict[str, MaskParams]:
    """What of the environment's config a task needs to be otherwise."""
    pattern = task.partition("/")[2]
    return {"masked_mimic_params": MaskParams(patterns={pattern: 1.0}, frame_keep=1.0)} if pattern else {}


UNIFIED = ("track", "path", "goal", "steering")
"""What a student is evaluated on."""

OPTIONS = {
    "distillation/tasks/unified_evaluation": UNIFIED,
    "masked_mimic/tasks/motion_tracking": ("track",),
    "masked_mimic/tasks/patterns": ("track", *(f"masked_mimic/{name}" for name in PATTERNS)),
    "masked_mimic/tasks/path_following": ("path",),
    "masked_mimic/tasks/goal_directed": ("goal",),
    "masked_mimic/tasks/steering": ("steering",),
}
"""Evaluation options by name, and the tasks that they ask for."""

TASKS_OF_KIND = {
    "tracker": ("track",),
    "masked_mimic": ("track", "masked_mimic"),
    "path_follower": ("path",),
    "goal_directed": ("goal",),
    "steering": ("steering",),
}
"""What a policy is evaluated on if nothing else is asked, by its checkpoint's kind."""
