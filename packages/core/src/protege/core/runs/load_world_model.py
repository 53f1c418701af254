"""The way back from a run's checkpoint to the model of the world that it has fitted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..env import Env
from ..errors import UserError
from ..learning.world_model.dynamics import WorldModel
from .checkpoint import load
from .checkpoint_checks import check_layout
from .resuming import check_robot
from .run_folder import LAST

KEY = "agent.world_model_path"


def load_world_model(path: str | Path, env: Env, like: WorldModel) -> dict[str, Tensor]:
    """The state of the model in a run's `last.ckpt`; of several ranks they all have the same.

    Args:
        path: a run's folder, or that file.
        like: a model of the shape that it should have.

    Raises:
        UserError: naming the key; there is none, or it is of another robot or shape.
    """
    file = Path(path) / LAST if Path(path).is_dir() else Path(path)
    try:
        saved = load(file, "cpu")
        check_robot(file, saved, env.robot, "physics_dt", "solver")
        model = _fitted(saved.training)
        if model is None:
            remedy = "Give the folder of a run that was trained through a model of the world"
            raise UserError(f"{file} holds no model of the world", remedy)
        check_layout(model, like.state_dict(), "model")
    except UserError as error:
        raise UserError(f"{KEY}: {error.problem}", error.remedy) from error
    except ValueError as error:
        raise UserError(f"{KEY}: {file} holds another shape of it ({error})", "Take its agent.model_units") from error
    return model


def _fitted(training: Mapping[str, Any]) -> dict[str, Tensor] | None:
    ranks = training.get("ranks")
    first = ranks[0] if isinstance(ranks, list) and ranks else training
    trainer = first.get("trainer") if isinstance(first, Mapping) else None
    model = trainer.get("model") if isinstance(trainer, Mapping) else None
    return dict(model) if isinstance(model, Mapping) else None
