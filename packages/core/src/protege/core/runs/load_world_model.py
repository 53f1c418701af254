"""Loads world models from checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..env import ImaginableEnv
from ..errors import UserError
from ..learning.world_model.dynamics import WorldModel
from .checkpoint import load
from .checkpoint_checks import check_layout
from .resuming import check_robot
from .run_folder import LAST

KEY = "agent.world_model_path"


def load_world_model(path: str | Path, env: ImaginableEnv, like: WorldModel) -> dict[str, Tensor]:
    """Load the state of the world model in a run's `last.ckpt`; it is the same for all ranks.

    Args:
        path: a run's folder, or the file.
        like: a model of the required shape.

    Raises:
        UserError: names the key; there is no model, or its robot, shape or factors differ.
    """
    file = Path(path) / LAST if Path(path).is_dir() else Path(path)
    try:
        saved = load(file, "cpu")
        check_robot(file, saved, env.robot, "physics_dt", "solver")
        trainer = _trainer(saved.training)
        model = _fitted(trainer)
        if model is None:
            remedy = "Give the folder of a run that was trained through a world model"
            raise UserError(f"{file} holds no world model", remedy)
        check_factors(file, trainer.get("factors", {}), env)
        check_layout(model, like.state_dict(), "model")
    except UserError as error:
        raise UserError(f"{KEY}: {error.problem}", error.remedy) from error
    except ValueError as error:
        raise UserError(
            f"{KEY}: {file} holds a world model of another shape ({error})", "Take its agent.model_units"
        ) from error
    return model


def check_factors(file: Path, was: Any, env: ImaginableEnv) -> None:
    """Compare the factors of a model's training envs with those of these envs.

    Args:
        was: see `ImaginableEnv.factor_ranges`, with lists instead of tuples.

    Raises:
        UserError: a factor differs.
    """
    now = {name: list(bounds) for name, bounds in env.factor_ranges.items()}
    known = was if isinstance(was, Mapping) else {}
    for name in [*now, *known]:
        if (mine := now.get(name)) != (other := known.get(name)):
            ranges = [f"in {bounds}" if bounds else "nowhere" for bounds in (other, mine)]
            raise UserError(
                f"the model of {file} has seen {name} vary {ranges[0]}, here it varies {ranges[1]}",
                "Take its env.randomization, or fit a new model",
            )


def _trainer(training: Mapping[str, Any]) -> Mapping[str, Any]:
    ranks = training.get("ranks")
    first = ranks[0] if isinstance(ranks, list) and ranks else training
    trainer = first.get("trainer") if isinstance(first, Mapping) else None
    return trainer if isinstance(trainer, Mapping) else {}


def _fitted(trainer: Mapping[str, Any]) -> dict[str, Tensor] | None:
    model = trainer.get("model")
    return dict(model) if isinstance(model, Mapping) else None
