"""Configuration: dataclasses, then a YAML preset, then `key.path=value` arguments. A config is not changed once it is built."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from .. import checks
from ..errors import UserError, shown
from ..plain_data import listed
from ..plugins import entry_points
from . import plain_yaml
from .config_layers import current_key, each_text, former_keys, leaves, nested, prepared, renamed
from .devices import DEVICE, sees_gpu, usable_device

SPLITS = ("train", "test", "all")


@dataclass
class RunConfig:
    """What to run, on which device, and for how long.

    Attributes:
        experiment_name: the run's folder in `results_dir`.
        robot: name of a registered robot, or path of a robot file. `<robot>` in presets and arguments is replaced by its name.
        simulator: name of a registered simulator.
        motion_file: one or more clips, folders, manifests, or a packed library.
        motion_split: clips of a manifest to use: `train`, `test`, `all`. Clips that are in no manifest are in every split.
        motion_tags: use only clips with one of these tags in a manifest; empty for all.
        seed: of all random numbers.
        device: `auto` (the GPU if the simulator can use it), `cpu`, `cuda`, `cuda:1`.
        results_dir: folder of all runs.
        max_iterations: limit of iterations. Training ends at the first limit that is reached.
        max_samples: limit of transitions.
        max_time: limit of time over all sessions of the run, s.
        checkpoint_interval: iterations between checkpoints, more if saving is slow (`pause_after_save`); 0 for one at the end only.
        resume: continue from `last.ckpt` if it exists.
        checkpoint: weights of the same kind of policy to start from if nothing is resumed.
        num_threads: of physics and torch on a CPU; 0 for all cores that the process may use, but at most 8 for torch.
        mixed_precision: on a GPU, run networks in bfloat16.
        compile: on a GPU, compile networks.
    """

    experiment_name: str = ""
    robot: str = ""
    simulator: str = "mujoco"
    motion_file: list[str] = field(default_factory=list)
    motion_split: str = "train"
    motion_tags: list[str] = field(default_factory=list)
    seed: int = 0
    device: str = "auto"
    results_dir: str = "results"
    max_iterations: int | None = None
    max_samples: int | None = None
    max_time: float | None = None
    checkpoint_interval: int = 20
    resume: bool = True
    checkpoint: str = ""
    num_threads: int = 0
    mixed_precision: bool = True
    compile: bool = True

    def check(self, key: str) -> None:
        checks.within(0, 2**32 - 1, self, key, "seed")
        checks.within(0, 1e9, self, key, "max_iterations", "max_time", "checkpoint_interval")
        checks.within(0, 1e15, self, key, "max_samples")
        checks.within(0, 1024, self, key, "num_threads")
        if self.motion_split not in SPLITS:
            raise UserError(f"{key}.motion_split is {shown(self.motion_split)!r}", f"Take {', '.join(SPLITS)}")
        if not DEVICE.fullmatch(self.device):
            raise UserError(
                f"{key}.device is {shown(self.device)!r}", "Take auto, cpu, cuda or, of several GPUs, cuda:1"
            )

    def torch_device(self) -> str:
        """Torch's name of the device.

        Raises:
            UserError: the GPU does not exist.
        """
        if self.device == "auto":
            return "cuda" if self.simulator != "mujoco" and sees_gpu() else "cpu"
        return usable_device(self.device, "run.device")


class Config:
    """The parts of a config by name, each an instance of its dataclass: `config.run`, `config.env`, ..."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = dict(parts)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_parts"][name]
        except KeyError:
            raise AttributeError(f"the config has no part {name!r}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for checkpoints: dicts, lists (also for tuples), strings, numbers."""
        return {name: listed(asdict(part)) for name, part in self._parts.items()}

    def to_yaml(self) -> str:
        return plain_yaml.write(self.to_dict())


def compose(
    parts: Mapping[str, type],
    preset: str | None,
    overrides: Sequence[str] = (),
    files: Sequence[str | Path] = (),
    robot_settings: Callable[[str], tuple[str, Mapping[str, Any]]] | None = None,
) -> Config:
    """Build a config from its schema, the robot's settings, a preset, files and arguments. Later ones override earlier ones.

    Args:
        parts: dataclass of each part.
        preset: name of a preset (see `find_preset`), None for the defaults.
        overrides: `key.path=value` in YAML syntax. A key may be shortened to a unique suffix. The original ProtoMotions guide's
            notation, `+part.config.key=value`, is equivalent.
        files: YAML files with parts, like a preset.
        robot_settings: value of `run.robot` -> the robot's name, and its default parts, in the format of a preset.

    Raises:
        UserError: unknown key (with the nearest one), wrong type or value, unknown preset, unreadable file.
    """
    schema = _schema(parts)
    layers = [*(_layers(preset) if preset else []), *map(_file, files), *_given(schema, overrides)]
    robots = [layer["run"]["robot"] for _, layer in layers if "robot" in (layer.get("run") or {})]
    if robots:
        name, own = robot_settings(str(robots[-1])) if robot_settings else (str(robots[-1]), {})
        layers = [(x, each_text(layer, lambda text: text.replace("<robot>", name))) for x, layer in layers]
        layers.insert(0, (f"robot {name}", own))
    return _build(schema, layers)


def override_keys(parts: Mapping[str, type], overrides: Sequence[str]) -> list[str]:
    """The full keys of `key.path=value` arguments."""
    return [key for _, (key, _) in _pairs(_schema(parts), overrides)]


def from_dict(parts: Mapping[str, type], data: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Build the config that `Config.to_dict` returned, overridden by `key.path=value`.

    Parts that are not in the schema and parameters of tasks that are not installed are ignored.
    """
    saved = {name: _of_installed(cls, data[name]) for name, cls in parts.items() if name in data}
    schema = _schema(parts)
    return _build(schema, [("config", saved), *_given(schema, overrides)], log_renames=False)


def _of_installed(cls: type, part: Any) -> Any:
    """A saved part without mappings that its dataclass has no field for: parameters of tasks that are not installed."""
    names = {f.name for f in fields(cls)}
    return {x: y for x, y in part.items() if x in names or not isinstance(y, dict)} if isinstance(part, dict) else part


def _given(schema: DictConfig, overrides: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(shown(text), nested(*pair)) for text, pair in _pairs(schema, overrides)]


def _build(config: DictConfig, layers: Sequence[tuple[str, Mapping[str, Any]]], log_renames: bool = True) -> Config:
    """Merge layers into a schema, which is changed. log_renames: log the current names of renamed keys."""
    for error in _merged(config, layers, log_renames):
        raise error
    return Config({str(name): checked(OmegaConf.to_object(config[name]), str(name)) for name in config})


def _merged(
    config: DictConfig, layers: Sequence[tuple[str, Mapping[str, Any]]], log_renames: bool
) -> Iterator[UserError]:
    """Merge layers into a schema. Errors are yielded, and the values with errors are left out."""
    former = former_keys(config)
    for origin, layer in layers:
        layer = renamed(prepared(origin, layer, config), former, log_renames=log_renames)
        known, fitting = set(_keys(config)), list[tuple[str, Any]]()
        for names, value in leaves(layer):
            key = ".".join(names)
            if any("." in name for name in names):
                yield UserError(f"{origin}: the key {key} has a dot in a name", f"Nest it: {nested(key, '...')}")
            elif key not in known and not _is_free(config, key):
                yield _unknown(f"{origin}: unknown key {key}", key, known)
            else:
                fitting.append((key, value))
        whole = [layer] if len(fitting) == len(list(leaves(layer))) else []
        for piece in [*whole, *(nested(*pair) for pair in fitting)]:  # one by one, if merging them together fails
            try:
                config.merge_with(OmegaConf.create(piece))
                if piece is layer:
                    break
            except OmegaConfBaseException as error:
                yield _wrong(origin, error)
    for key in sorted(OmegaConf.missing_keys(config)):
        yield UserError(f"{key} has no value", f"Add {key}=...")


def _schema(parts: Mapping[str, type]) -> DictConfig:
    schema = OmegaConf.create({name: OmegaConf.structured(cls) for name, cls in parts.items()})
    assert isinstance(schema, DictConfig)
    return schema


def _wrong(origin: str, error: OmegaConfBaseException) -> UserError:
    """Convert an error of OmegaConf to a UserError."""
    key, message, owner = (
        getattr(error, "full_key", None) or origin,
        shown(str(error).splitlines()[0]),
        error.object_type,
    )
    if "is not a ListConfig" in message or "Cannot merge DictConfig with ListConfig" in message:
        return UserError(f"{origin}: {key}: expected a list, e.g. [a, b]", f"Write {key}=[...]")
    if isinstance(error, ConfigKeyError) and owner is not None and is_dataclass(owner):
        return _unknown(f"{origin}: unknown key {key}", key, {f.name for f in fields(owner)})  # of an entry of a list
    return UserError(f"{origin}: {key}: {message}", "Give a value of that type")


def checked(part: Any, path: str) -> Any:
    """Check a dataclass, and convert OmegaConf's lists to tuples of the declared length."""
    changes = {}
    for name, hint in get_type_hints(type(part)).items():
        value, key, items = getattr(part, name), f"{path}.{name}", get_args(hint)
        if is_dataclass(value):
            changes[name] = checked(value, key)
        elif get_origin(hint) is list and is_dataclass(items[0]):
            changes[name] = [checked(item, f"{key}[{i}]") for i, item in enumerate(value)]
        elif get_origin(hint) is tuple:
            if items[-1] is not ... and len(value) != len(items):
                raise UserError(f"{key} has {len(value)} entries, not {len(items)}", f"Give a list of {len(items)}")
            changes[name] = tuple(value)
    whole = replace(part, **changes)
    checks.finite(whole, path)
    checks.check(whole, path)
    return whole


# Presets ---------------------------------------------------------------------------------------------------------------


def find_preset(name: str) -> Traversable:
    """The YAML file of a preset, in the `presets` folder of any installed package.

    Raises:
        UserError: there is no such preset; names the nearest one.
    """
    presets = dict(_preset_files())
    if name not in presets:
        raise _unknown(f"no preset {name!r}", name, set(presets), "presets")
    return presets[name]


def all_presets(package: str = "") -> Iterator[tuple[str, Traversable]]:
    """Names and files of all presets in installed packages (entry-point group `protege.presets`).

    Presets whose names begin with `_` are left out: they are only bases of others.

    Args:
        package: only those of this package, such as `protege.core`.
    """
    return ((name, file) for name, file in _preset_files(package) if not name.startswith("_"))


def _preset_files(package: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in entry_points(group="protege.presets"):
        if entry.value.startswith(package):
            yield from _yaml_files(files(entry.value), "")


def _yaml_files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _yaml_files(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".yaml"):
            yield prefix + item.name.removesuffix(".yaml"), item


def read_preset(preset: str) -> dict[str, Any]:
    """The contents of a preset's file.

    Raises:
        UserError: there is no such preset, or its file is damaged.
    """
    file = find_preset(preset)
    try:
        data = plain_yaml.read(file.read_bytes())
    except plain_yaml.NotPlainError as error:
        raise UserError(f"preset {preset}: {error}", "Mend its file, or install its package again") from error
    if not isinstance(data or {}, dict):
        raise UserError(f"preset {preset} holds no parts", "Write e.g. env: {num_envs: 256}, one part per key")
    return data or {}


def _layers(preset: str, above: tuple[str, ...] = ()) -> list[tuple[str, Mapping[str, Any]]]:
    """The layers of a preset: its base, or those of a list in order, with their own bases; then the preset itself."""
    if preset in above:
        raise UserError(f"preset {preset} is based on itself", f"Change a base: {' -> '.join([*above, preset])}")
    data = read_preset(preset)
    bases = data.pop("base", None) or []
    below = [_layers(str(base), (*above, preset)) for base in ([bases] if isinstance(bases, str) else bases)]
    return [*chain.from_iterable(below), (f"preset {preset}", data)]


def _file(path: str | Path) -> tuple[str, Mapping[str, Any]]:
    """The parts in a YAML file."""
    try:
        data = plain_yaml.read_file(path)
    except (OSError, ValueError) as error:  # ValueError: not plain data, or a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read {path} ({reason})", "Give a YAML file with the parts run, env, agent, model"
        ) from error
    if not isinstance(data, Mapping):
        raise UserError(f"{path} holds no parts", "Write e.g. env: {num_envs: 256}, one part per key")
    return str(path), {name: part for name, part in data.items() if part is not None}


# Keys ------------------------------------------------------------------------------------------------------------------


def _pairs(schema: DictConfig, overrides: Sequence[str]) -> list[tuple[str, tuple[str, Any]]]:
    """For each `key.path=value`, its text, full key and value."""
    former, pairs = former_keys(schema), []
    known = {*_keys(schema), *former}
    for text in overrides:
        key, equals, value = text.partition("=")
        key = re.sub(r"^(\w+)\.config\.", r"\1.", key.strip().lstrip("+"))  # the guide's spelling
        if not equals or not key:
            raise UserError(f"{text!r} is not an override", "Write key.path=value")
        key = current_key(_complete(key, known, schema), former, log_renames=True)
        try:
            pairs.append((text, (key, plain_yaml.read(value) if value else "")))
        except plain_yaml.NotPlainError as error:
            raise UserError(f"{key}: {shown(repr(value))} is not YAML ({error})", "Quote it") from error
    return pairs


def _complete(key: str, known: set[str], schema: Any) -> str:
    if key in known or _is_free(schema, key):
        return key
    ends = sorted({*_ending(key, known), *_free_ending(key, known, schema)})
    if len(ends) > 1:
        raise UserError(f"key {key} could be {' or '.join(ends)}", "Write the whole path")
    if not ends:
        raise _unknown(f"unknown key {key}", key, known)
    return ends[0]


def _ending(key: str, known: set[str]) -> list[str]:
    return [name for name in known if name.endswith("." + key)]


def _free_ending(key: str, known: set[str], schema: Any) -> list[str]:
    """Full keys for a suffix that extends into a `dict[str, ...]` field: task_mix.path -> env.task_mix.path."""
    names = key.split(".")
    cuts = [(".".join(names[:i]), ".".join(names[i:])) for i in range(1, len(names))]
    full = [f"{name}.{rest}" for start, rest in cuts for name in _ending(start, known)]
    return [name for name in full if _is_free(schema, name)]


def _unknown(problem: str, key: str, known: set[str], what: str = "keys") -> UserError:
    near = get_close_matches(key, known, 1, 0.5) or get_close_matches(
        key.split(".")[-1], [name.split(".")[-1] for name in known], 1, 0.5
    )
    full = [name for name in sorted(known) if name.split(".")[-1] == near[0]] if near and near[0] not in known else near
    return UserError(problem, f"Did you mean {full[0]}?" if full else f"See the {what} in docs/configuration.md")


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all descendants, including inner nodes."""
    for name in node:
        key = f"{prefix}{name}"
        yield key
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, key + ".")


def _is_free(schema: Any, key: str) -> bool:
    """Whether a key is in a `dict[str, ...]` field, which accepts any name."""
    node = schema
    names = key.split(".")
    for depth, name in enumerate(names):
        if not isinstance(node, DictConfig):
            return False
        if OmegaConf.get_type(node) is dict and node._metadata.ref_type is not Any:
            return depth >= 1 and depth == len(names) - 1
        if name not in node:
            return False
        node = node._get_node(name)
    return False
