"""Core's experiments: the tracker, with PPO or a world model; MaskedMimic, with imitation or a world model."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..env import Env, ImaginableEnv
from ..errors import UserError
from ..learning.accelerate import accelerate
from ..learning.imitation import Expert, Imitation
from ..learning.learner import Learner
from ..learning.masked_mimic import MaskedMimic, MaskedMimicConfig
from ..learning.policy import ActorCritic, ModelConfig
from ..learning.ppo import PPO, PPOConfig
from ..learning.world_model.config import WorldModelConfig
from ..learning.world_model.learner import WorldModelLearner
from ..learning.world_model.masked_mimic import ImaginedMimicConfig, ImaginedMimicLearner
from ..robots.servos import Servos
from ..tasks import tasks
from .config import Config
from .load_policy import LoadedPolicy, load_to_act, make_actor_critic
from .load_world_model import load_world_model
from .loop import train_loop
from .run import Run
from .training import Experiment


def actor_critics() -> list[str]:
    """Kinds of policies that an actor-critic can start from, because they are actor-critics."""
    return ["tracker", *(task.kind for task in tasks().values() if task.modality is not None), "student"]


def load_expert(path: str, env: Env, kinds: Sequence[str]) -> LoadedPolicy:
    """The policy at `agent.expert_model_path`; see `load_to_act`."""
    absent = "Train it first, or name it: agent.expert_model_path=results/NAME"
    return load_to_act(path, env, "agent.expert_model_path", kinds, absent=absent)


def starting_policy(run: Run, env: Env, config: Config) -> ActorCritic:
    """An actor-critic with the weights of `agent.expert_model_path`, if set. Additional inputs initially have no effect.

    The critic is new if the expert was trained with another algorithm: that critic has learned rewards of another scale, and its
    gradient would mislead a policy that is trained through it.

    A resumed run only needs its own checkpoint; the expert may no longer exist.
    """
    policy = make_actor_critic(env, config.model)
    if run.resumes:
        pass  # `Run.restore` loads the weights
    elif config.agent.expert_model_path:
        expert = load_expert(config.agent.expert_model_path, env, actor_critics())
        weights = expert.policy.state_dict()
        if by_world_model(expert.config) != isinstance(config.agent, WorldModelConfig):
            own = {name: x for name, x in policy.state_dict().items() if name.startswith("critic.")}
            weights = {name: x for name, x in weights.items() if not name.startswith("critic.")} | own
        policy.load_from(weights)
        run.record_motions(expert.checkpoint.motions)
    elif run.kind != "tracker" and not config.run.checkpoint:
        run.print_line("starts from scratch, not from a tracker: agent.expert_model_path is empty")
    return policy


def by_world_model(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config belongs to a training through a world model."""
    return "imagined_envs" in (config.get("agent") or {})


def train_ppo(run: Run, env: Env, config: Config) -> None:
    """Train the tracker, or a teacher that starts from it, with PPO."""
    policy = starting_policy(run, env, config)
    accelerate(policy, env.device, config.run.mixed_precision, config.run.compile)
    train_loop(run, env, Learner(PPO(policy, config.agent), env.reset(), config.run.seed, run.group))


def train_world_model(run: Run, env: Env, config: Config) -> None:
    """Train the tracker, or a teacher that starts from it, through a world model."""
    policy = starting_policy(run, env, config)
    speed = (config.run.mixed_precision, config.run.compile)
    learner = WorldModelLearner(policy, cast(ImaginableEnv, env), config.agent, config.run.seed, run.group, speed)
    take_over_model(run, config, learner)
    train_loop(run, env, learner)


def take_over_model(run: Run, config: Config, learner: WorldModelLearner) -> None:
    """Load the world model at `agent.world_model_path` into a learner, unless the path is empty or the run is resumed."""
    if config.agent.world_model_path and not run.resumes:
        learner.use_model(load_world_model(config.agent.world_model_path, learner.env, learner.model))


def train_masked_mimic(run: Run, env: Env, config: Config) -> None:
    """Train MaskedMimic by imitation of the tracker at `agent.expert_model_path`."""
    if not config.agent.expert_model_path:
        raise UserError(
            "agent.expert_model_path is empty",
            f"Name the tracker: agent.expert_model_path=results/{env.robot.name}_tracker",
        )
    expert, policy = teaching_tracker(run, env, config), fresh_masked_mimic(env, config)
    accelerate(policy, env.device, config.run.mixed_precision, config.run.compile)
    algorithm = Imitation(policy, expert, config.agent)
    train_loop(run, env, Learner(algorithm, env.reset(), config.run.seed, run.group))


def train_imagined_mimic(run: Run, env: Env, config: Config) -> None:
    """Train MaskedMimic through a world model; the tracker at `agent.expert_model_path`, if set, is the anchor."""
    expert = teaching_tracker(run, env, config) if config.agent.expert_model_path else None
    if expert is None:
        run.print_line("learns from the reward alone: agent.expert_model_path is empty")
    speed = (config.run.mixed_precision, config.run.compile)
    parts = (fresh_masked_mimic(env, config), cast(ImaginableEnv, env), config.agent)
    learner = ImaginedMimicLearner(*parts, config.run.seed, run.group, speed, expert)
    take_over_model(run, config, learner)
    train_loop(run, env, learner)


def fresh_masked_mimic(env: Env, config: Config) -> MaskedMimic:
    """An untrained MaskedMimic on the environment's device."""
    return MaskedMimic(env.obs_shapes, Servos.of(env.robot), config.agent).to(env.device)


def teaching_tracker(run: Run, env: Env, config: Config) -> Expert:
    """Load the tracker at `agent.expert_model_path`, and record it and its motions in the run."""
    path = config.agent.expert_model_path
    loaded = load_expert(path, env, ["tracker"])
    run.record_sources({path: loaded.digest})
    run.record_motions(loaded.checkpoint.motions)
    return accelerate(loaded.policy, env.device, config.run.mixed_precision, config.run.compile)


_IMAGINED_TRACKER = Experiment("tracker", {"agent": WorldModelConfig, "model": ModelConfig}, train_world_model)

EXPERIMENTS = {
    "full_body_tracker/world_model": _IMAGINED_TRACKER,
    "full_body_tracker/robust": _IMAGINED_TRACKER,
    "full_body_tracker": Experiment("tracker", {"agent": PPOConfig, "model": ModelConfig}, train_ppo),
    "masked_mimic/world_model": Experiment("masked_mimic", {"agent": ImaginedMimicConfig}, train_imagined_mimic),
    "masked_mimic": Experiment("masked_mimic", {"agent": MaskedMimicConfig}, train_masked_mimic),
}
"""Experiments by the name of their preset, or by its first part."""
