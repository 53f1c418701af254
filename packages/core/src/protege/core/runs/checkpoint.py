"""Checkpoints: everything that a policy needs to act, and that a run needs to go on, in one file without pickles."""

import hashlib
import struct
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, entry_points, version
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
from ..robots.plain import from_plain
from ..robots.robot import Robot
from . import plain_yaml
from .checkpoint_checks import REMEDY, check_contents, digest

FORMAT = 3
LATER = {1: ("description", "motions"), 2: ("motions",)}
"""What an earlier format has not: of 1 the robot is known by its name alone, and neither says where its motions come from."""
DIGEST = "sha256"
"""Key of a checkpoint's digest, over its fields; one of an earlier version has none."""
UNREADABLE = (
    *(BadZipFile, UnpicklingError, EOFError, OSError, ImportError, MemoryError, struct.error),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
)
"""What torch raises at an archive whose pickle was changed: an unpickler does what the bytes say, short of calling functions."""
CRITIC = "critic."
"""Before the name of every tensor of a policy's critic."""
ZOO = "zoo:"
"""Before the name of a policy that an installed package ships."""
PACKAGES = ("protege-core", "protege-sim", "protege-teachers", "protege-distill", "torch", "mujoco")


@dataclass
class Checkpoint:
    """A policy and where its training stands.

    Attributes:
        kind: tracker, masked_mimic, the kind of a task (`protege.core.tasks.Task`) or student.
        config: the whole config as plain data.
        robot: name.
        joint_names: what the actions mean.
        obs_shapes: of the observations that the policy was built for, without the leading N.
        model: the policy's state, normalisers included.
        iteration, samples, seconds: spent on training so far.
        finished: its budget is spent.
        metrics: the latest ones; of an evaluated policy, its evaluation.
        versions: of the packages that wrote this.
        training: states of optimizer, environment and trainer; empty in a release.
        description: the whole robot as plain data, see `protege.core.robots.plain`; empty if it is known by its name alone.
        motions: where the motions come from that it was trained on, and its teachers: `protege.core.motions.provenance.Origin`s as
            plain data; empty if it was saved by an earlier version.
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
        """The robot that the policy was trained with; None if the file only has its name."""
        return from_plain(self.description) if self.description else None


def installed_versions() -> dict[str, str]:
    """Versions of the packages that shape a result, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all: temporary file, sync, rename. If it fails, the one before stays.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    contents = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    data = {"format": FORMAT, DIGEST: digest(contents), **contents}
    write_atomically(path, lambda file: _save(data, file))


def _save(data: dict[str, Any], file: BinaryIO) -> None:
    """torch.save, which turns an error of the file into a RuntimeError about positions."""
    try:
        torch.save(data, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def locate(path: str | Path) -> Path:
    """Where a checkpoint is: `zoo:NAME` is an entry of a zoo that an installed package ships; anything else is a path.

    Raises:
        UserError: no zoo has it.
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
        UserError: missing, damaged, or of another format.
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


FACTS, MODEL = "facts_sha256", "model_sha256"
"""Keys of a release's config.yaml: SHA-256 of what follows that line, and of model.safetensors."""


def save_release(folder: Path, checkpoint: Checkpoint, *, half: bool = True, critic: bool = True) -> None:
    """Write a policy without its training state: `model.safetensors`, and `config.yaml` with the digests of both.

    Args:
        half: weights in float16 (the normalisers stay float32).
        critic: with the critic. Without it the file is a third smaller. The policy acts, and training goes on with a new critic,
            but it cannot be a teacher, whose values are distilled.

    Raises:
        UserError: the folder cannot be written.
    """
    kept = {name: x for name, x in checkpoint.model.items() if critic or not name.startswith(CRITIC)}
    model = {name: x.detach().cpu().contiguous() for name, x in kept.items()}
    if half:
        model = {name: x if "normalizer" in name or "returns" in name else x.half() for name, x in model.items()}
    facts = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint) if f.name not in ("model", "training")}
    weights = to_bytes(model)
    text = sealed({"format": FORMAT, **facts}, hashlib.sha256(weights).hexdigest())
    write_atomically(folder / "model.safetensors", lambda file: file.write(weights))
    write_atomically(folder / "config.yaml", lambda file: file.write(text.encode()))


def sealed(facts: dict[str, Any], model_sha256: str) -> str:
    """A release's config.yaml: its facts after the digests by which `load` knows that neither file has changed."""
    # Lists of numbers in one line each: a robot's description has hundreds.
    text = yaml.safe_dump({MODEL: model_sha256, **facts}, sort_keys=False, default_flow_style=None, width=132)
    return f"{FACTS}: {_sha256(text.encode())}\n{text}"


def _load_release(folder: Path, device: torch.device | str) -> Checkpoint:
    remedy = "Pull or copy it again: `protege teachers zoo pull`"
    try:
        text, weights = ((folder / name).read_bytes() for name in ("config.yaml", "model.safetensors"))
        seal, _, sealed_text = text.partition(b"\n")
        if seal.startswith(FACTS.encode()) and seal != f"{FACTS}: {_sha256(sealed_text)}".encode():
            raise UserError(f"{folder / 'config.yaml'} is damaged: it differs from its checksum", remedy)
        facts, model = plain_yaml.read(text), from_bytes(weights)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder} is a damaged release ({str(error).splitlines()[0]})", remedy) from error
    if not isinstance(facts, dict):
        raise UserError(f"{folder / 'config.yaml'} is damaged", remedy)
    facts.pop(FACTS, None)
    if facts.pop(MODEL, found := _sha256(weights)) != found:  # a release of an earlier version has none
        raise UserError(f"{folder / 'model.safetensors'} is damaged: it differs from its checksum", remedy)
    floats = {name: (x.float() if x.is_floating_point() else x).to(device) for name, x in model.items()}
    return _checked(folder / "config.yaml", {**facts, "model": floats, "training": {}})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checked(path: Path, data: Any) -> Checkpoint:
    if not isinstance(data, dict) or "format" not in data:
        raise UserError(f"{path} is not a checkpoint of Protégé", "Give last.ckpt of a run folder")
    written, form = data.pop(DIGEST, None), data.pop("format")
    known = isinstance(form, int) and form in (*LATER, FORMAT)
    names = [f.name for f in fields(Checkpoint) if not known or f.name not in LATER.get(form, ())]
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
    """A policy's state as it is now. At first all actions were in rad, and only MaskedMimic still has no need of their scale."""
    model = checkpoint.model
    if checkpoint.kind == "masked_mimic" or "action_scale" in model or "default_joint_pos" not in model:
        return model
    return {**model, "action_scale": torch.ones_like(model["default_joint_pos"])}


def _with_masks(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """Shapes of observations as they are now. At first the masks of all commands were one observation, `command_mask`."""
    if "command_mask" not in shapes:
        return shapes
    commands = [name for name in shapes if name not in NO_COMMANDS | {"command_mask"}]
    return {name: shapes[name] for name in shapes if name != "command_mask"} | {f"{name}_mask": [] for name in commands}
