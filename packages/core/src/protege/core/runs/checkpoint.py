"""Checkpoints: everything for using a policy and for resuming its run, in one file without pickles."""

import hashlib
import struct
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from ..errors import UserError, shown
from ..files import write_atomically
from ..learning.tokens import NO_COMMANDS
from ..plugins import entry_points
from ..robots.plain import from_plain
from ..robots.robot import Robot
from . import plain_yaml
from .checkpoint_checks import REMEDY, check_contents, digest

FORMAT = 3
MISSING_FIELDS = {1: ("description", "motions"), 2: ("motions",)}
"""Fields that earlier formats do not have. Format 1 has only the robot's name; both lack the origins of the motions."""
DIGEST = "sha256"
"""Key of the digest of a checkpoint's fields; checkpoints of earlier versions have none."""
UNREADABLE = (
    *(BadZipFile, UnpicklingError, EOFError, OSError, ImportError, MemoryError, struct.error),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
)
"""Exceptions of torch for an archive whose pickle was modified. The unpickler does not call functions, but can fail in any way."""
CRITIC_PREFIX = "critic."
"""Prefix of the names of the critic's tensors."""
ZOO = "zoo:"
"""Prefix of the name of a policy that an installed package ships."""
PACKAGES = ("protege-core", "protege-sim", "protege-teachers", "protege-distill", "torch", "mujoco")


@dataclass
class Checkpoint:
    """A policy and the state of its training.

    Attributes:
        kind: tracker, masked_mimic, the kind of a task (`protege.core.tasks.Task`) or student.
        config: the whole config as plain data.
        robot: name.
        joint_names: of the actions, in order.
        obs_shapes: of the policy's observations, without the leading N.
        model: the policy's state, including normalisers.
        iteration, samples, seconds: of training so far.
        finished: whether the budget is spent.
        metrics: the latest ones; for an evaluated policy, its evaluation.
        versions: of the packages that wrote the checkpoint.
        training: states of optimizer, environment and trainer; empty in a release.
        description: the robot as plain data, see `protege.core.robots.plain`; empty if only its name is known.
        motions: origins of the motions that the policy and its teachers were trained on, `protege.core.motions.provenance.Origin`
            as plain data; empty if an earlier version saved it.
    """

    kind: str
    config: dict[str, Any]
    robot: str
    joint_names: list[str]
    obs_shapes: dict[str, list[int]]
    model: dict[str, Tensor]
    iteration: int = 0
    samples: int = 0
    seconds: float = 0.0
    finished: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())
    training: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    motions: list[dict[str, str]] = field(default_factory=list)

    def described_robot(self) -> Robot | None:
        """The robot that the policy was trained with; None if only its name is known."""
        return from_plain(self.description) if self.description else None


def installed_versions() -> dict[str, str]:
    """Versions of those packages in `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: temporary file, sync, rename. On failure the previous one remains.

    Raises:
        UserError: the folder is not writable, or the disk is full.
    """
    contents = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    data = {"format": FORMAT, DIGEST: digest(contents), **contents}
    write_atomically(path, lambda file: _save(data, file))


def _save(data: dict[str, Any], file: BinaryIO) -> None:
    """`torch.save`, but raising the original OSError instead of torch's RuntimeError about file positions."""
    try:
        torch.save(data, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def locate(path: str | Path) -> Path:
    """Path of a checkpoint: `zoo:NAME` is an entry of a zoo that an installed package ships; anything else is a path.

    Raises:
        UserError: no zoo has this entry.
    """
    if not str(path).startswith(ZOO):
        return Path(path)
    name = str(path).removeprefix(ZOO)
    for entry in entry_points(group="protege.zoos"):
        folder = Path(entry.load()()) / name
        if Path(name).name == name and (folder / "model.safetensors").is_file():
            return folder
    raise UserError(f"no policy {path} is shipped", "protege-teachers zoo list shows those that are")


def load(path: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a file, or a folder: its `best.ckpt`, else its `last.ckpt`, else a release (`save_release`); or see `locate`.

    Raises:
        UserError: the file is missing, damaged, or has another format.
    """
    path = locate(path)
    if path.is_dir():
        found = [path / name for name in ("best.ckpt", "last.ckpt") if (path / name).is_file()]
        if not found and (path / "model.safetensors").is_file():
            return _load_release(path, device)
        path = found[0] if found else path / "last.ckpt"
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}", "Train one, or give another run's folder")
    try:
        with ZipFile(path) as archive:  # torch.load does not compare checksums
            if archive.testzip():
                raise BadZipFile
        foreign = get_unsafe_globals_in_checkpoint(path)
        data = None if foreign else torch.load(path, map_location=device, weights_only=True)
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged or not a checkpoint", REMEDY) from error
    return _checked(path, data)


FACTS_DIGEST, MODEL_DIGEST = "facts_sha256", "model_sha256"
"""Keys of a release's config.yaml: SHA-256 of the text after this line, and of model.safetensors."""


def save_release(folder: Path, checkpoint: Checkpoint, *, half: bool = True, critic: bool = True) -> None:
    """Write a policy without its training state: `model.safetensors`, and `config.yaml` with the digests of both.

    Args:
        half: save weights in float16 (the normalisers stay in float32).
        critic: include the critic. Without it the file is a third smaller. The policy can act, and be trained further with a new
            critic, but cannot be a teacher, because a student also learns the teacher's values.

    Raises:
        UserError: the folder is not writable.
    """
    saved = {name: x for name, x in checkpoint.model.items() if critic or not name.startswith(CRITIC_PREFIX)}
    model = {name: x.detach().cpu().contiguous() for name, x in saved.items()}
    if half:
        model = {name: x if "normalizer" in name or "returns" in name else x.half() for name, x in model.items()}
    facts = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint) if f.name not in ("model", "training")}
    weights = to_bytes(model)
    text = sealed({"format": FORMAT, **facts}, hashlib.sha256(weights).hexdigest())
    write_atomically(folder / "model.safetensors", lambda file: file.write(weights))
    write_atomically(folder / "config.yaml", lambda file: file.write(text.encode()))


def sealed(facts: dict[str, Any], model_sha256: str) -> str:
    """Text of a release's config.yaml: the facts, preceded by the digests with which `load` verifies both files."""
    # One line per list of numbers, because a robot's description has hundreds.
    text = yaml.safe_dump({MODEL_DIGEST: model_sha256, **facts}, sort_keys=False, default_flow_style=None, width=132)
    return f"{FACTS_DIGEST}: {_sha256(text.encode())}\n{text}"


def _load_release(folder: Path, device: torch.device | str) -> Checkpoint:
    remedy = "Pull or copy it again: `protege teachers zoo pull`"
    try:
        text, weights = ((folder / name).read_bytes() for name in ("config.yaml", "model.safetensors"))
        seal, _, sealed_text = text.partition(b"\n")
        if seal.startswith(FACTS_DIGEST.encode()) and seal != f"{FACTS_DIGEST}: {_sha256(sealed_text)}".encode():
            raise UserError(f"{folder / 'config.yaml'} is damaged: it differs from its checksum", remedy)
        facts, model = plain_yaml.read(text), from_bytes(weights)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder} is a damaged release ({str(error).splitlines()[0]})", remedy) from error
    if not isinstance(facts, dict):
        raise UserError(f"{folder / 'config.yaml'} is damaged", remedy)
    facts.pop(FACTS_DIGEST, None)
    if facts.pop(MODEL_DIGEST, found := _sha256(weights)) != found:  # a release of an earlier version has none
        raise UserError(f"{folder / 'model.safetensors'} is damaged: it differs from its checksum", remedy)
    floats = {name: (x.float() if x.is_floating_point() else x).to(device) for name, x in model.items()}
    return _checked(folder / "config.yaml", {**facts, "model": floats, "training": {}})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checked(path: Path, data: Any) -> Checkpoint:
    if not isinstance(data, dict) or "format" not in data:
        raise UserError(f"{path} is not a checkpoint of Protégé", "Give last.ckpt of a run folder")
    written, form = data.pop(DIGEST, None), data.pop("format")
    known = isinstance(form, int) and form in (*MISSING_FIELDS, FORMAT)
    names = [f.name for f in fields(Checkpoint) if not known or f.name not in MISSING_FIELDS.get(form, ())]
    if not known or set(data) != set(names):
        versions = data.get("versions")
        wrote = versions.get("protege-core") if isinstance(versions, dict) else None
        raise UserError(
            f"{path} was written in another format, by protege-core {shown(str(wrote or 'of another version'))}",
            "Train it again, or install that version",
        )
    contents = {name: data[name] for name in names}
    check_contents(path, {"description": {}, "motions": [], **contents})
    if written is not None and written != digest(contents):
        raise UserError(f"{path} is damaged: its contents differ from its checksum", REMEDY)
    checkpoint = Checkpoint(**contents)
    return replace(checkpoint, obs_shapes=_with_masks(checkpoint.obs_shapes), model=_with_scale(checkpoint))


def _with_scale(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state in the current format. Early policies have actions in rad, so their scale is 1. MaskedMimic saves no scale."""
    model = checkpoint.model
    if checkpoint.kind == "masked_mimic" or "action_scale" in model or "default_joint_pos" not in model:
        return model
    return {**model, "action_scale": torch.ones_like(model["default_joint_pos"])}


def _with_masks(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """Observation shapes in the current format. Early policies have one observation `command_mask` for all commands."""
    if "command_mask" not in shapes:
        return shapes
    commands = [name for name in shapes if name not in NO_COMMANDS | {"command_mask"}]
    return {name: shapes[name] for name in shapes if name != "command_mask"} | {f"{name}_mask": [] for name in commands}
