"""What core trains: the tracker, by PPO or through a model of the world; MaskedMimic, by imitation or through such a model."""

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
    """Kinds of policy that an actor-critic can start from: those whose network is one."""
    return ["tracker", *(task.kind for task in tasks().values() if task.modality is not None), "student"]


def load_expert(path: str, env: Env, kinds: Sequence[str]) -> LoadedPolicy:
    """The policy at `agent.expert_model_path`; see `load_to_act`."""
    absent = "Train it first, or name it: agent.expert_model_path=results/NAME"
    return load_to_act(path, env, "agent.expert_model_path", kinds, absent=absent)


def starting_policy(run: Run, env: Env, config: Config) -> ActorCritic:
    """An actor-critic with the weights of `agent.expert_model_path` if there is one; what it reads besides has no effect yet.

    Its critic begins anew where the expert was trained by another algorithm: that one's rewards are of another size, and its slope
    would lead a policy astray that is trained by gradients through it.

    A run that goes on has what it needs in its own checkpoint: its expert may be gone.
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
        run.say("starts from scratch, not from a tracker: agent.expert_model_path is empty")
    return policy


def by_world_model(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config is of a training through a model of the world."""
    return "imagined_envs" in (config.get("agent") or {})


def train_ppo(run: Run, env: Env, config: Config) -> None:
    """The tracker, and every teacher that starts from it, by PPO."""
    policy = starting_policy(run, env, config)
    accelerate(policy, env.device, config.run.mixed_precision, config.run.compile)
    train_loop(run, env, Learner(PPO(policy, config.agent), env.reset(), config.run.seed, run.group))


def train_world_model(run: Run, env: Env, config: Config) -> None:
    """The tracker, and every teacher that starts from it, by the gradient through a learned model of the simulator."""
    policy = starting_policy(run, env, config)
    speed = (config.run.mixed_precision, config.run.compile)
    learner = WorldModelLearner(policy, cast(ImaginableEnv, env), config.agent, config.run.seed, run.group, speed)
    take_over_model(run, config, learner)
    train_loop(run, env, learner)


def take_over_model(run: Run, config: Config, learner: WorldModelLearner) -> None:
    """Give a learner the model of the world at `agent.world_model_path`, unless it is empty or the run has its own already."""
    if config.agent.world_model_path and not run.resumes:
        learner.use_model(load_world_model(config.agent.world_model_path, learner.env, learner.model))


def train_masked_mimic(run: Run, env: Env, config: Config) -> None:
    """MaskedMimic, taught by the tracker at `agent.expert_model_path`."""
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
    """MaskedMimic through a learned model of the simulator, near the tracker at `agent.expert_model_path` if there is one."""
    expert = teaching_tracker(run, env, config) if config.agent.expert_model_path else None
    if expert is None:
        run.say("learns from the reward alone: agent.expert_model_path is empty")
    speed = (config.run.mixed_precision, config.run.compile)
    parts = (fresh_masked_mimic(env, config), cast(ImaginableEnv, env), config.agent)
    learner = ImaginedMimicLearner(*parts, config.run.seed, run.group, speed, expert)
    take_over_model(run, config, learner)
    train_loop(run, env, learner)


def fresh_masked_mimic(env: Env, config: Config) -> MaskedMimic:
    """Untrained, on the environment's device."""
    return MaskedMimic(env.obs_shapes, Servos.of(env.robot), config.agent).to(env.device)


def teaching_tracker(run: Run, env: Env, config: Config) -> Expert:
    """The tracker at `agent.expert_model_path`, which the run's record names."""
    path = config.agent.expert_model_path
    loaded = load_expert(path, env, ["tracker"])
    run.record_sources({path: loaded.digest})
    run.record_motions(loaded.checkpoint.motions)
    return accelerate(loaded.policy, env.device, config.run.mixed_precision, config.run.compile)


EXPERIMENTS = {
    "full_body_tracker/world_model": Experiment(
        "tracker", {"agent": WorldModelConfig, "model": ModelConfig}, train_world_model
    ),
    "full_body_tracker": Experiment("tracker", {"agent": PPOConfig, "model": ModelConfig}, train_ppo),
    "masked_mimic/world_model": Experiment("masked_mimic", {"agent": ImaginedMimicConfig}, train_imagined_mimic),
    "masked_mimic": Experiment("masked_mimic", {"agent": MaskedMimicConfig}, train_masked_mimic),
}
"""By their presets' names, or the first part of them."""
