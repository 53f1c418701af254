"""The conditions of an evaluation, which apply to all its tasks, for episodes and for whole clips."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from protege.core.env import Env
from protege.core.runs.config import from_dict
from protege.core.runs.evaluation import default_simulator, evaluation_env
from protege.core.runs.load_policy import LoadedPolicy
from protege.sim.env_config import EnvConfig, push_test

from .tasks import EVALUATED, EVALUATION_ONLY, env_overrides

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions of an evaluation.

    Attributes:
        num_envs: maximum number of envs.
        seed: of the commands. Policies that are evaluated with the same seed get the same commands.
        push: force of occasional forward pushes, N; see `push_test`.
        terrain: `flat` or `gentle`, see `TerrainParams.kind`; by default the config's.
        evaluation_only: settings of `Task.evaluation_only`, each `key.path=value`.
        overrides: changes of the config's `env` part, each `key.path=value`.
        changes: changed values by their name below `env`, for example `randomization.friction`; see `changed`.
        robot, simulator, motion_file, motion_split, device: see `protege.core.runs.evaluation.evaluation_env`.
    """

    num_envs: int = 64
    seed: int = 0
    push: float = 0.0
    terrain: str | None = None
    evaluation_only: Sequence[str] = ()
    overrides: Sequence[str] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    robot: str | None = None
    simulator: str | None = None
    motion_file: Sequence[str] = ()
    motion_split: str | None = None
    device: str = "auto"

    def env_config(self, loaded: LoadedPolicy) -> EnvConfig:
        """The config that the policy was trained with, changed by these conditions.

        Raises:
            UserError: an override is wrong.
        """
        terrain = [f"env.terrain.kind={self.terrain}", "env.terrain.in_evaluation=true"] if self.terrain else []
        config = from_dict({"env": EnvConfig}, loaded.config, [*self.evaluation_only, *terrain, *self.overrides]).env
        config = replace(config, mix_probability=0.0)
        config = replace(config, randomization=push_test(self.push)) if self.push else config
        return changed(config, self.changes) if self.changes else config

    def simulator_of(self, loaded: LoadedPolicy) -> str:
        """The name of the simulator: the given one, or the default for this policy."""
        return self.simulator or default_simulator(loaded, self.device)

    def make_env(self, loaded: LoadedPolicy, name: str, config: EnvConfig, num_envs: int) -> Env:
        """An env of a task in `EVALUATED`; see `evaluation_env`."""
        return evaluation_env(
            loaded,
            EVALUATED[name].name,
            num_envs=num_envs,
            seed=self.seed,
            robot=self.robot,
            simulator=self.simulator_of(loaded),
            motion_file=self.motion_file,
            motion_split=self.motion_split,
            device=self.device,
            overrides=vars(config) | env_overrides(name),
        )

    def facts(self, loaded: LoadedPolicy, config: EnvConfig) -> dict[str, Any]:
        """The policy and the conditions as plain data, for the result file.

        Args:
            config: as returned by `env_config`.
        """
        run, saved = loaded.config["run"], loaded.checkpoint
        return {
            "schema_version": SCHEMA_VERSION,
            "checkpoint": str(loaded.path),
            "kind": loaded.kind,
            "name": run["experiment_name"],
            "robot": loaded.robot,
            "simulator": self.simulator_of(loaded),
            "motion_file": list(self.motion_file or run["motion_file"]),
            "seed": self.seed,
            "actor_parameters": loaded.policy.num_parameters("actor"),
            "trained_samples": saved.samples,
            "trained_seconds": round(saved.seconds, 1),
            "versions": saved.versions,
            **self._special_conditions(config),
        }

    def _special_conditions(self, config: EnvConfig) -> dict[str, Any]:
        """The conditions that differ from the defaults."""
        facts = {"push": self.push} if self.push else {}
        default_config = EnvConfig()
        for key, (task, name) in EVALUATION_ONLY.items():
            value, default = (getattr(getattr(x, task.config_key), name) for x in (config, default_config))
            facts |= {key: value} if value != default else {}
        facts |= {"motion_split": self.motion_split} if self.motion_split else {}
        facts |= {"changes": dict(self.changes)} if self.changes else {}
        facts |= {"overrides": list(self.overrides)} if self.overrides else {}
        terrain = config.terrain.when(True)
        return facts | ({"terrain": asdict(terrain)} if terrain.kind != "flat" else {})


def changed(config: EnvConfig, changes: Mapping[str, Any]) -> EnvConfig:
    """A config with some values replaced, by their dotted names; randomisation in `changes` applies to evaluations.

    The training's own randomisation is off, unless its config sets `randomization.in_evaluation`.
    """
    config = replace(config, randomization=replace(config.randomization.when(True), in_evaluation=True))
    for key, value in changes.items():
        config = _replaced(config, key.split("."), value)
    return config


def _replaced(part: Any, names: Sequence[str], value: Any) -> Any:
    first, *rest = names
    return replace(part, **{first: _replaced(getattr(part, first), rest, value) if rest else value})
