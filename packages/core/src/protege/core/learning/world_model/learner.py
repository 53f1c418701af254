"""The learner that trains a policy through a world model. It has the interface of `Learner` for the training loop."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ...env import Env, ImaginableEnv, Obs
from ..accelerate import accelerate, compiled, compiles, frozen
from ..cuda_graph import Recorded
from ..learner import Policy
from ..optim import Muon, adamw, backward, guarded_step, hidden_matrices, set_learning_rate
from ..process_group import SINGLE_PROCESS, ProcessGroup
from ..rollout import discount
from ..stopwatch import Stopwatch
from . import coordinates, imagination
from .config import WorldModelConfig
from .dynamics import WorldModel
from .replay import Replay

RATE_DECAY_START = 0.4
"""Share of the budget after which learning rates decrease."""
FIT_TRANSITIONS = 40_000
"""Number of transitions to which the model's linear part is fitted."""
OPEN_LOOP_STEPS = 15
"""Control steps after which the model's open-loop error is measured, half a second at 30 Hz."""
OPEN_LOOP_INTERVAL = 10
"""Iterations between measurements of the open-loop error."""


class WorldModelLearner[P: Policy]:
    """Collects control steps, fits the model to them, and trains the policy in imagined episodes.

    Attributes:
        policy: a moving average of the trained policy; checkpoints hold this one.
        optimizer, muon: of the trained policy; the latter, of hidden matrices, is None if unused.
        model_optimizer, model_muon: of the model.

    Args:
        policy: already on its device.
        env: an env that supports imagination.
        config: see WorldModelConfig.
        seed: of all random numbers; each rank derives its own.
        group: the ranks that train this policy.
        speed: mixed precision and compilation, see `accelerate`.
        anchor: teachers for the anchor term in imagined episodes.
    """

    def __init__(
        self,
        policy: P,
        env: ImaginableEnv,
        config: WorldModelConfig,
        seed: int = 0,
        group: ProcessGroup = SINGLE_PROCESS,
        speed: tuple[bool, bool] = (False, False),
        anchor: imagination.Anchor | None = None,
    ) -> None:
        device, self.anchor = policy.action_bound.device, anchor
        self.config, self.env, self.group = config, env, group
        self.generator = torch.Generator(device).manual_seed(group.seed(seed))
        self.trained, self.policy = policy, deepcopy(policy).requires_grad_(False)
        # One set of normalisers, and one critic, for both.
        self.policy.tokenizer, self.policy.critic = policy.tokenizer, policy.critic
        self.target_critic = deepcopy(policy.critic).requires_grad_(False)
        # Compiling networks alone gains little: steps are compiled as a whole, including their networks.
        mixed_precision, compile = speed
        accelerate(policy, device, mixed_precision, compile=False)
        model = WorldModel(env.robot, config.model_units, len(env.factor_ranges))
        self.model = accelerate(model.to(device), device, mixed_precision, compile=False)
        if compiles(device, compile):
            self.model.kinematics.fuse()
        self._step_error = compiled(self.model.step_error, device, compile)
        self.imagined = env.imagine(config.imagined_envs, self.generator)
        self._imagined_step = compiled(imagination.imagined_step, device, compile)
        group.broadcast(self.model)
        others, self.muon = _hidden_to_muon(policy.actor, policy.actor, config.muon_rate)
        self.optimizer = adamw(
            [(others, config.learning_rate), (policy.critic.parameters(), config.critic_learning_rate)]
        )
        others, self.model_muon = _hidden_to_muon(self.model, self.model.net, config.model_muon_rate)
        self.model_optimizer = adamw([(others, config.model_learning_rate)])
        reads_past = anchor is not None or not imagination.HISTORIES.keys().isdisjoint(policy.obs_keys)
        self.past = env.obs_shapes["history"][0] if reads_past else 0
        self.kl_weight = torch.zeros((), device=device)  # of the KL of a latent from its prior
        self.gamma = discount(config.gamma, env.robot.control_dt)
        self.replay = Replay(config.replay_steps, env.num_actions, env.num_envs, env.rows(), device)
        self.noise = torch.zeros(env.num_envs, env.num_actions, device=device)
        self.noise_share = torch.linspace(0.0, 1.0, env.num_envs, device=device).unsqueeze(1)
        self._model_gradients = Recorded(self._backward_model, device)
        self._policy_gradients = Recorded(self._backward_policy, device, self.generator)
        if compiles(device, compile):
            self._compile()
        self.obs = env.reset()
        self.stopwatch = Stopwatch(device)
        self._iteration, self._open_loop_metrics = 0, dict[str, float]()
        self.samples = config.rollout_steps * env.num_envs
        self.fitted = False  # whether the model was fitted before the first control step

    def _compile(self) -> None:
        """Compute gradients of arbitrary states, so that the updates are compiled while the simulator's kernels still are."""
        random = self.generator.get_state()
        self.replay.x[..., coordinates.QUAT_W] = 1.0  # no rotation
        self._model_gradients(self._model_windows())
        self._policy_gradients(self._starts())
        self.replay.x.zero_()
        self.generator.set_state(random)

    def use_model(self, model: Mapping[str, Tensor]) -> None:
        """Load the state of a fitted model; call it before the first iteration."""
        self.model.load_state_dict(model)
        self.fitted = True

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimizers by their names in checkpoints."""
        every = {
            "optimizer": self.optimizer,
            "muon": self.muon,
            "model_optimizer": self.model_optimizer,
            "model_muon": self.model_muon,
        }
        return {name: optimizer for name, optimizer in every.items() if optimizer is not None}

    @property
    def _policy_optimizers(self) -> list[torch.optim.AdamW | Muon]:
        return [self.optimizer, *([] if self.muon is None else [self.muon])]

    @property
    def _model_optimizers(self) -> list[torch.optim.AdamW | Muon]:
        return [self.model_optimizer, *([] if self.model_muon is None else [self.model_muon])]

    # Control steps -----------------------------------------------------------------------------------------------------

    def collect(self, env: Env, iteration: int, progress: float) -> dict[str, Tensor]:
        """Run `rollout_steps` in the simulator. Returns the rows of the episodes that ended (E,); see `Step.episodes`."""
        config, self._iteration = self.config, iteration
        self.stopwatch.start()
        if not self.replay.filled:
            self._warm_up()
        decay = 1.0 - (1.0 - config.final_rate) * max(0.0, progress - RATE_DECAY_START) / (1.0 - RATE_DECAY_START)
        set_learning_rate(self.optimizer, decay * config.learning_rate, decay * config.critic_learning_rate)
        set_learning_rate(self.model_optimizer, decay * config.model_learning_rate)
        for muon, rate in ((self.muon, config.muon_rate), (self.model_muon, config.model_muon_rate)):
            if muon is not None:
                set_learning_rate(muon, decay * rate)
        self.samples = config.rollout_steps * env.num_envs
        episodes = self._play(config.rollout_steps, config.exploration)
        self.stopwatch.lap("time/collect")
        return episodes

    def _play(self, steps: int, exploration: float) -> dict[str, Tensor]:
        episodes: list[dict[str, Tensor]] = []
        ended: list[Tensor] = []
        env, replay, memory = self.env, self.replay, self.config.noise_memory
        for _ in range(steps):
            x, rows = coordinates.pack(env.state), {name: value.clone() for name, value in env.rows().items()}
            with torch.no_grad():
                mean, std = self._act()
            fresh = torch.randn(mean.shape, generator=self.generator, device=mean.device)
            self.noise = memory * self.noise + (1.0 - memory**2) ** 0.5 * fresh
            step = env.step(mean + exploration * self.noise_share * std * self.noise)
            replay.add(x, env.target, rows, step.ended | step.invalid)
            self.obs = {name: part.clone() for name, part in step.obs.items()}
            ended.append(step.ended.clone())
            episodes.append({name: part.clone() for name, part in step.episodes.items()})
        over = torch.stack(ended)
        return {name: torch.stack([rows[name] for rows in episodes])[over] for name in episodes[0]}

    def _act(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the actions in the simulator, (N, J) each."""
        return self.trained.distribution(self.obs)

    def _warm_up(self) -> None:
        """Collect the first control steps. Fit the model to them, unless `use_model` has loaded one."""
        config = self.config
        # Weights of `run.checkpoint` were loaded into the averaged policy.
        self.trained.actor.load_state_dict(self.policy.actor.state_dict())
        self.target_critic.load_state_dict(self.trained.critic.state_dict())
        with self.group.pooling(self.trained.tokenizer):
            for _ in range(config.warmup_steps):
                self._play(1, config.exploration if self.fitted else config.warmup_exploration)
                self.trained.update_normalizers(self.obs)
        if not self.fitted:
            self._fit_model()
        self.samples += config.warmup_steps * self.env.num_envs

    def _fit_model(self) -> None:
        replay, group = self.replay, self.group
        data = replay.windows(min(FIT_TRANSITIONS, replay.filled * self.env.num_envs), 1, 0.0, self.generator)
        valid = data["alive"][0] > 0
        factors = data["factors"][valid] if "factors" in data else None
        self.model.fit(data["x"][0][valid], data["target"][0][valid], data["x"][1][valid], factors)
        group.broadcast(self.model)
        for _ in range(self.config.warmup_updates):
            self._update_model()

    # Updates -----------------------------------------------------------------------------------------------------------

    def update(self, after_step: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Train model and policy. Returns metrics, averaged over the updates.

        Args:
            after_step: called after every step of the policy's optimizer.
        """
        config, group = self.config, self.group
        history = [self._update_model() for _ in range(config.model_updates)]
        self.stopwatch.lap("time/model")
        first, updates = self._iteration * config.policy_updates, config.policy_updates
        steps = [self._update_policy(first + k, after_step) for k in range(updates)]
        self.stopwatch.lap("time/policy")
        with group.pooling(self.trained.critic):
            self.trained.critic.update(steps[-1].pop("returns"))
        for row in steps[:-1]:
            del row["returns"]
        with group.pooling(self.trained.tokenizer):
            self.trained.update_normalizers(self.obs)
        # In the iteration before each checkpoint, so that every saved model has been measured.
        if self._iteration == 0 or (self._iteration + 1) % OPEN_LOOP_INTERVAL == 0:
            self._open_loop_metrics = self._open_loop_error()
        means = [
            {name: torch.stack([row[name] for row in rows]).nanmean() for name in rows[0]} for rows in (history, steps)
        ]
        metrics = {name: float(x) for table in means for name, x in table.items()} | self._open_loop_metrics
        metrics["agent/skipped_updates"] *= len(steps)
        metrics |= self.stopwatch.seconds()  # no extra wait: the device has finished by now
        return metrics | {"learning_rate": self.optimizer.param_groups[0]["lr"].item()}

    def _open_loop_error(self) -> dict[str, float]:
        """See `WorldModel.open_loop_error`. Empty if no window is long enough, for example if pushes are too frequent."""
        windows = self._windows(1024, min(OPEN_LOOP_STEPS, self.replay.filled - 1), 1.0)
        if not windows["alive"][-1].any():
            return {}
        return {name: x.item() for name, x in self.model.open_loop_error(**windows).items()}

    def _windows(self, count: int, steps: int, recent: float) -> dict[str, Tensor]:
        return self.replay.windows(count, steps, recent, self.generator)

    def _model_windows(self) -> dict[str, Tensor]:
        return self._windows(self.config.model_batch, self.config.model_window, self.config.model_recent)

    def _update_model(self) -> dict[str, Tensor]:
        loss = self._model_gradients(self._model_windows()).clone()
        return {"model/loss": loss, "model/skipped_updates": self._guarded_steps(self._model_optimizers)}

    def _guarded_steps(self, optimizers: Sequence[torch.optim.AdamW | Muon]) -> Tensor:
        """Take a step of each optimizer. Returns () 1 if one was skipped."""
        return torch.stack([guarded_step(part, self.config.max_grad_norm, self.group) for part in optimizers]).amax()

    def _backward_model(self, windows: Mapping[str, Tensor]) -> Tensor:
        loss = self.model.rollout_loss(**windows, step_error=self._step_error)
        backward(loss, *self._model_optimizers)
        return loss.detach()

    def _update_policy(self, number: int, after_step: Callable[[], None]) -> dict[str, Tensor]:
        """Take one step of actor and critic; `number` counts the steps of the run."""
        config, trained = self.config, self.trained
        terms = {name: x.clone() for name, x in self._policy_gradients(self._starts()).items()}
        terms["agent/skipped_updates"] = self._guarded_steps(self._policy_optimizers)
        # The first updates use a shorter memory; otherwise the average would stay near the untrained policy.
        follow(self.policy.actor, trained.actor, min(config.average_memory, (1.0 + number) / (10.0 + number)))
        follow(self.target_critic, trained.critic, config.target_memory)
        after_step()
        return terms

    def _starts(self) -> dict[str, Tensor]:
        return self.replay.starts(self.imagined.task_counts, self.env.task_slices, self.generator, self.past)

    def _backward_policy(self, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the gradients of actor and critic, in their parameters. Returns metrics, () each, and `returns` (H, M)."""
        config, policy, gamma = self.config, self.trained, self.gamma
        parts = (policy, self.target_critic, self.model, self.imagined)
        inputs = (start, config, gamma, self.generator, self.anchor, self.kl_weight)
        with frozen(self.model):
            rollout = imagination.play(*parts, *inputs, step=self._imagined_step)
        loss = imagination.actor_loss(policy, self.target_critic, rollout, config, gamma)
        targets = imagination.critic_targets(rollout, gamma, config.lam)
        values = imagination.critic_loss(policy, rollout, targets)
        for part, objective in ((policy.actor, loss), (policy.critic, values)):
            parameters = list(part.parameters())
            for parameter, gradient in zip(parameters, torch.autograd.grad(objective, parameters), strict=True):
                parameter.grad = gradient
        return {
            "actor/imagined_loss": loss.detach(),
            "actor/offset": rollout.offset.mean(),
            **({} if rollout.anchor_kl is None else {"actor/anchor_kl": rollout.anchor_kl.mean()}),
            **imagination.latent_metrics(rollout),
            "actor/imagined_reward": rollout.reward.mean(),
            "actor/imagined_survival": rollout.alive[-1].float().mean(),
            "critic/value_loss": values.detach(),
            "returns": targets,
        }

    # Saving ------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state for exact resumption, without the averaged policy, the optimizers and the env."""
        ranges = {name: list(bounds) for name, bounds in self.env.factor_ranges.items()}
        return {
            **({"factors": ranges} if ranges else {}),
            "obs": dict(self.obs),
            "generator": self.generator.get_state(),
            "actor": self.trained.actor.state_dict(),
            "target_critic": self.target_critic.state_dict(),
            "model": self.model.state_dict(),
            "replay": self.replay.state_dict(),
            "noise": self.noise,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.obs: Obs = {name: state["obs"][name].to(x.device) for name, x in self.obs.items()}
        self.generator.set_state(state["generator"].cpu())
        self.trained.actor.load_state_dict(state["actor"])
        for name in ("target_critic", "model", "replay"):
            getattr(self, name).load_state_dict(state[name])
        self.noise = state["noise"].to(self.noise.device)
        self._open_loop_metrics = {}  # measured on another model


def _hidden_to_muon(module: nn.Module, network: nn.Module, rate: float) -> tuple[list[nn.Parameter], Muon | None]:
    """Muon for the hidden matrices of a module's network, and the module's other parameters; None and all if the rate is 0."""
    hidden = hidden_matrices(network) if rate > 0 else []
    others = [p for p in module.parameters() if all(p is not weight for weight in hidden)]
    return others, Muon(hidden, rate) if hidden else None


@torch.no_grad()
def follow(average: nn.Module, other: nn.Module, memory: float) -> None:
    """Update the moving average of a module's state; `memory` is the share of the old average that is retained."""
    for mine, now in zip(average.state_dict().values(), other.state_dict().values(), strict=True):
        mine.lerp_(now, 1.0 - memory)
