"""The conditions of an evaluation: what is the same for all tasks, whether episodes or whole clips are played."""

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
        num_envs: environments, at most.
        seed: of the commands; the same for every policy, so that two can be compared on the same commands.
        push: force that pushes the robots forward now and then, N; see `push_test`.
        terrain: `flat` or `gentle`, see `TerrainParams.kind`; by default the config's.
        given: settings of `Task.evaluation_only`, each `key.path=value`.
        overrides: changes of the config's `env` part, each `key.path=value`.
        changes: what is otherwise than in the training, by the name below `env`, as `randomization.friction`; see `changed`.
        robot, simulator, motion_file, motion_split, device: see `protege.core.runs.evaluation.evaluation_env`.
    """

    num_envs: int = 64
    seed: int = 0
    push: float = 0.0
    terrain: str | None = None
    given: Sequence[str] = ()
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
        terrain = [f"env.terrain.kind={self.terrain}"] if self.terrain else []
        config = from_dict({"env": EnvConfig}, loaded.config, [*self.given, *terrain, *self.overrides]).env
        config = replace(config, mix_probability=0.0)
        config = replace(config, randomization=push_test(self.push)) if self.push else config
        return changed(config, self.changes) if self.changes else config

    def simulator_of(self, loaded: LoadedPolicy) -> str:
        """The name of the simulator."""
        return self.simulator or default_simulator(loaded, self.device)

    def make_env(self, loaded: LoadedPolicy, name: str, config: EnvConfig, num_envs: int) -> Env:
        """Environments of a task of `EVALUATED`, see `evaluation_env`."""
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
        """The policy and the conditions as plain data, for the file of results.

        Args:
            config: of `env_config`.
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
            **self._unusual(config),
        }

    def _unusual(self, config: EnvConfig) -> dict[str, Any]:
        """Conditions that differ from those of most evaluations."""
        said = {"push": self.push} if self.push else {}
        usual = EnvConfig()
        for key, (task, name) in EVALUATION_ONLY.items():
            value, default = (getattr(getattr(x, task.config_key), name) for x in (config, usual))
            said |= {key: value} if value != default else {}
        said |= {"motion_split": self.motion_split} if self.motion_split else {}
        said |= {"changes": dict(self.changes)} if self.changes else {}
        said |= {"overrides": list(self.overrides)} if self.overrides else {}
        return said | ({"terrain": asdict(config.terrain)} if config.terrain.kind != "flat" else {})


def changed(config: EnvConfig, changes: Mapping[str, Any]) -> EnvConfig:
    """A config with some values replaced, by their dotted names. What is randomised then is so in evaluations, too.

    What training randomises is off here, unless its config has `randomization.in_evaluation`.
    """
    config = replace(config, randomization=replace(config.randomization.when(True), in_evaluation=True))
    for key, value in changes.items():
        config = _with(config, key.split("."), value)
    return config


def _with(part: Any, names: Sequence[str], value: Any) -> Any:
    first, *rest = names
    return replace(part, **{first: _with(getattr(part, first), rest, value) if rest else value})
