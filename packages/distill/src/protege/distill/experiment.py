"""What `train distillation/...` does: curriculum, distillation, and an evaluation now and then."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from protege.core.env import Env, Obs
from protege.core.learning.accelerate import accelerate
from protege.core.learning.policy import ActorCritic, ModelConfig
from protege.core.learning.rollout import LoopState, episode_metrics
from protege.core.runs.config import Config
from protege.core.runs.experiments import Experiment, make_actor_critic
from protege.core.runs.run import Run

from .checkup import Checkup, Score
from .config import DistillConfig, Stage
from .curriculum import stage_index, usable_stages
from .teachers_by_task import Tutors, load_tutors
from .trainer import Distiller


class TaskEnv(Env, Protocol):
    """An environment whose worlds can be dealt out anew among tasks."""

    def set_task_mix(self, mix: dict[str, float]) -> Obs: ...


class DistillState(LoopState):
    """What the loop carries on besides policy, optimizer and environment.

    Attributes:
        stage: of the curriculum, its index.
        best: score of best.ckpt; empty before the first evaluation.
        evaluated_at: iteration of the last evaluation.
    """

    def __init__(self, obs: Obs, distiller: Distiller) -> None:
        super().__init__(obs, distiller.generator)
        self.distiller = distiller
        self.stage = 0
        self.best: Score = []
        self.evaluated_at = -1

    def state_dict(self) -> dict[str, Any]:
        mine = {"stage": self.stage, "best": list(self.best), "evaluated_at": self.evaluated_at}
        return super().state_dict() | mine | {"distiller": self.distiller.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.distiller.load_state_dict(state["distiller"])
        self.stage, self.best, self.evaluated_at = state["stage"], list(state["best"]), state["evaluated_at"]


def train(run: Run, env: Env, config: Config) -> None:
    """Distil the teachers at `agent.teacher_models` into a student.

    Raises:
        UserError: a teacher is missing or does not load, or the curriculum makes no sense.
    """
    agent: DistillConfig = config.agent
    stages = usable_stages(
        agent.curriculum or [Stage("all", 1.0, dict(config.env.task_mix))], agent.teacher_models.weights()
    )
    tutors = load_tutors(agent.teacher_models, tasks_of(stages), env, config.run)
    run.learns_from(tutors.digests)
    distil(run, cast(TaskEnv, env), config, tutors, stages)


def tasks_of(stages: Sequence[Stage]) -> list[str]:
    """All tasks of a curriculum, in the order in which they come."""
    return list(dict.fromkeys(task for stage in stages for task in stage.task_mix))


def distil(run: Run, env: TaskEnv, config: Config, tutors: Tutors, stages: Sequence[Stage]) -> None:
    """The training loop, from the run's last checkpoint if it has one.

    Args:
        tutors: for each task of the stages.
        stages: in order; see `usable_stages`.
    """
    agent: DistillConfig = config.agent
    obs = env.set_task_mix(stages[0].task_mix)
    student = make_actor_critic(env, config.model)
    world = run.world
    with world.pooling(student):
        student.update_normalizers(obs)
    distiller = Distiller(student, tutors, agent, env.device, world.seed(config.run.seed), world)
    accelerate(student, config.run, env.device)  # after the average has copied it
    state, policy = DistillState(obs, distiller), distiller.average.model
    run.restore({"policy": policy, "optimizer": distiller.optimizer, "env": env, "trainer": state})
    distiller.synchronize()
    buffer = distiller.make_buffer(state.obs, env.num_actions)
    examine = _Examination(run, config, tasks_of(stages), state, policy)
    for iteration in run:
        progress = run.progress
        stage = stage_index(stages, progress)
        if stage != state.stage:
            state.stage, state.obs = stage, env.set_task_mix(stages[stage].task_mix)
        state.obs, episodes = distiller.collect(env, buffer, state.obs, iteration, progress)
        world.average(env.statistics())
        metrics = distiller.update(buffer, env.task_names, progress)
        metrics |= episode_metrics(world.rows(episodes), env.task_names, env.clip_names) | {
            "curriculum/stage": float(stage)
        }
        if agent.evaluation_interval > 0 and (iteration + 1) % agent.evaluation_interval == 0:
            metrics |= examine()
        run.log(metrics, samples=len(buffer))
    if run.finished and agent.evaluation_interval > 0 and state.evaluated_at < run.iteration - 1:
        run.log(examine(), samples=0)
        run.save()  # knows of this evaluation
    examine.close()


class _Examination:
    """Evaluates the student, and keeps the best one as best.ckpt."""

    def __init__(self, run: Run, config: Config, tasks: list[str], state: DistillState, policy: ActorCritic) -> None:
        self.run, self.config, self.tasks, self.state, self.policy = run, config, tasks, state, policy
        self.checkup: Checkup | None = None

    def __call__(self) -> dict[str, float]:
        """Metrics of an evaluation now, made by the first rank; nothing for the others."""
        self.state.evaluated_at = self.run.iteration
        if not self.run.world.first:
            return {}
        self.checkup = self.checkup or Checkup(self.config, self.tasks, self.config.agent.evaluation_episodes)
        metrics, score = self.checkup(self.policy)
        if score > self.state.best:
            self.state.best = score
            self.run.save_best(metrics)
        return metrics

    def close(self) -> None:
        if self.checkup:
            self.checkup.close()


EXPERIMENTS = {"distillation": Experiment("student", {"agent": DistillConfig, "model": ModelConfig}, train)}
"""By the first part of their presets' names."""
