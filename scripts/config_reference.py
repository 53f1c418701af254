"""Writes the tables of docs/configuration.md from the config dataclasses: `python scripts/config_reference.py`."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from protege.core.commands import as_yaml
from protege.core.config import RunConfig
from protege.core.masked_mimic import MaskedMimicConfig
from protege.core.policy import ModelConfig
from protege.core.ppo import PPOConfig
from protege.distill.config import DistillConfig
from protege.sim.env_config import EnvConfig

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: written by scripts/config_reference.py -->", "<!-- keys: end -->"
PARTS = [
    ("`run`: what, on what, for how long", "run", RunConfig),
    ("`env`: the worlds", "env", EnvConfig),
    ("`agent` of the tracker and the teachers: PPO", "agent", PPOConfig),
    ("`agent` of MaskedMimic", "agent", MaskedMimicConfig),
    ("`agent` of the student: distillation", "agent", DistillConfig),
    ("`model` of the tracker, the teachers and the student", "model", ModelConfig),
]

BETTER = {
    "RunConfig.robot": "name of a registered robot.",
    "RunConfig.simulator": "name of a registered simulator.",
    "RunConfig.max_iterations": "training ends after so many iterations. The first of the three limits ends it.",
    "RunConfig.max_samples": "training ends after so many transitions.",
    "RunConfig.max_time": "training ends after so many seconds, counted over all sessions of the run.",
    "PathParams.path_termination_distance": "m; see `enable_path_termination`.",
    "PathParams.max_turn_rate": "of the path, rad/s.",
    "PathParams.rewards": "weight of each reward term.",
    "GoalParams.success_distance": "an evaluation fails if the pelvis is further from the goal than this at the deadline, m.",
    "GoalParams.max_turn_rate": "of the walk that is asked for, rad/s.",
    "GoalParams.rewards": "weight of each reward term besides `goal_closeness`, whose weight is `goal_reward_weight`.",
    "SteeringParams.settle_time": "errors count from so long after a change on, s.",
    "SteeringParams.max_heading_error": "once settled, facing further off than this is a failure, rad (45°).",
    "SteeringParams.max_turn_rate": "of the walk that is asked for, rad/s.",
    "SteeringParams.rewards": "weight of each reward term.",
    "PPOConfig.epochs": "passes over a rollout.",
    "PPOConfig.minibatches": "parts of a pass.",
    "PPOConfig.learning_rate": "of the actor at the start.",
    "PPOConfig.min_learning_rate": "lower end of the adapted rate.",
    "PPOConfig.max_learning_rate": "upper end of the adapted rate.",
    "PPOConfig.desired_kl": "the actor's rate is adapted so that the policy moves by about this in a rollout, nats; 0: it is not.",
    "PPOConfig.gamma": "discount a step.",
    "PPOConfig.lam": "trace of generalised advantage estimation.",
    "PPOConfig.value_weight": "of the value loss.",
    "PPOConfig.bounds_loss_weight": "of what actions exceed the robot's range by.",
    "MaskedMimicConfig.latent_dim": "of the prior's transformer; a multiple of `num_heads`.",
    "MaskedMimicConfig.ff_size": "of the prior's transformer.",
    "MaskedMimicConfig.num_layers": "of the prior's transformer.",
    "MaskedMimicConfig.num_heads": "of the prior's transformer.",
    "MaskedMimicConfig.prior_units": "hidden layers of the prior's readout.",
    "MaskedMimicConfig.encoder_units": "hidden layers of the encoder.",
    "MaskedMimicConfig.decoder_units": "hidden layers of the decoder.",
    "MaskedMimicConfig.critic_units": "hidden layers of the critic.",
    "MaskedMimicConfig.rollout_steps": "control steps of every world between updates.",
    "MaskedMimicConfig.epochs": "passes over a rollout.",
    "MaskedMimicConfig.minibatches": "parts of a pass.",
    "MaskedMimicConfig.learning_rate": "fixed.",
    "MaskedMimicConfig.max_grad_norm": "of all parameters together.",
    "MaskedMimicConfig.kl_start": "coefficient of the KL term at the start.",
    "MaskedMimicConfig.kl_end": "coefficient of the KL term after `kl_ramp` iterations.",
    "MaskedMimicConfig.kl_ramp": "iterations over which the coefficient goes from `kl_start` to `kl_end` in a straight line.",
    "DistillConfig.epochs": "passes over a rollout.",
    "DistillConfig.minibatches": "parts of a pass.",
    "DistillConfig.min_learning_rate": "at the end.",
    "DistillConfig.gamma": "discount a step.",
    "DistillConfig.lam": "trace of generalised advantage estimation.",
    "DistillConfig.ppo_start": "PPO's two terms are off until this share of the budget is spent.",
    "DistillConfig.ppo_ramp": "share of the budget over which they then grow to their weights.",
    "ModelConfig.latent_dim": "width of the transformer's tokens; a multiple of `num_heads`.",
    "ModelConfig.ff_size": "width of the transformer's feed-forward layers.",
    "ModelConfig.num_layers": "blocks of the transformer.",
    "ModelConfig.num_heads": "of its attention.",
    "ModelConfig.mlp_units": "hidden layers from the readout token to the actions; with `actor: mlp` those of the whole actor.",
    "ModelConfig.critic_units": "hidden layers of the critic.",
}
"""Where a docstring says nothing, or too little for a row that stands alone in a table."""


def described(cls: type) -> dict[str, str]:
    """What a dataclass's docstring says under `Attributes:`, by attribute; `a, b: text` speaks of both."""
    section = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    text = {}
    for entry in re.split(r"\n(?=    \S)", section.split("\n\n")[0]):
        names, _, meaning = entry.strip().partition(": ")
        text |= {name.strip(): " ".join(meaning.split()) for name in names.split(",")}
    better = {key.split(".")[1]: x for key, x in BETTER.items() if key.split(".")[0] == cls.__name__}
    return text | better


def default(field: dataclasses.Field) -> Any:
    """A field's default value; every field of a config has one."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def rows(prefix: str, cls: type) -> list[tuple[str, str, str]]:
    """(key, default, meaning) of every key under a dataclass, nested ones by their dotted path."""
    meaning, hints, table = described(cls), get_type_hints(cls), []
    for field in dataclasses.fields(cls):
        value, key, about = default(field), f"{prefix}.{field.name}", meaning.get(field.name, "")
        items = [item for item in get_args(hints[field.name]) if dataclasses.is_dataclass(item)]
        if dataclasses.is_dataclass(hints[field.name]):
            table += rows(key, type(value))
        elif items:
            table.append((key, f"{len(value)} entries", f"{about} An entry has the keys below."))
            table += rows(f"{key}[i]", items[0])
        elif isinstance(value, dict) and value:
            table += [(f"{key}.{name}", as_yaml(weight), about) for name, weight in value.items()]
        else:
            table.append((key, as_yaml(value), about))
    return table


def tables() -> str:
    """All tables in Markdown."""
    parts = []
    for heading, prefix, cls in PARTS:
        lines = [f"### {heading}", "", "| key | default | meaning |", "| --- | --- | --- |"]
        for row in rows(prefix, cls):
            key, shown, meaning = (cell.replace("|", "\\|") for cell in row)
            lines.append(f"| `{key}` | `{shown}` | {meaning} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def updated(page: str) -> str:
    """The page with its tables written anew."""
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
