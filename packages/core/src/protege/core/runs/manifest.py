"""Manifests: lists of a library's clips with their sampling weights, tags and split, train or test."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import escape, has_magic
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any

from .. import checks
from ..errors import UserError, shown
from ..files import write_atomically
from ..motions.clip import clip_files
from ..motions.conversion import converter_for
from ..motions.digests import digests
from ..motions.file_kinds import SNIFFED
from . import plain_yaml

SPLITS = ("train", "test")
SUFFIXES = (".yaml", ".yml", ".json")
MAX_YAML_CLIPS = 1000
"""Largest number of clips in a YAML manifest. Longer ones must be JSON, which is read a hundred times faster."""


@dataclass(frozen=True)
class MotionFile:
    """A motion file of a library.

    Attributes:
        file: a clip, or a motion that is converted to one or several clips.
        weight: relative probability of sampling it; 0 for never.
        tags: words for selecting clips.
        split: `train` or `test`.
        sha256: expected digest of the file; empty for any.
    """

    file: Path
    weight: float = 1.0
    tags: tuple[str, ...] = field(default=())
    split: str = "train"
    sha256: str = ""


def is_manifest(value: str | Path) -> bool:
    """Whether a value of `--motion-file` is a manifest, by its suffix. A JSON file may also be a motion of another format."""
    path = Path(value)
    return path.suffix in SUFFIXES and not path.is_dir() and not (path.suffix == ".json" and _is_motion(path))


def _is_motion(file: Path) -> bool:
    """Whether an installed package may read a JSON file as a motion, and the file does not begin like a manifest."""
    if converter_for(file) is None:
        return False
    with file.open("rb") as opened:
        return b'"clips"' not in opened.read(SNIFFED)


def read_manifest(path: Path) -> list[MotionFile]:
    """Read the files in a manifest, with patterns and folders expanded. If several entries match a file, the last one applies.

    Raises:
        UserError: an entry is invalid or matches no file.
    """
    try:
        data = json.loads(path.read_bytes()) if path.suffix == ".json" else plain_yaml.read_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})", "Give a manifest, a clip or a folder") from error
    except ValueError as error:
        raise UserError(f"{path} is not a manifest ({shown(str(error))})", "See docs/libraries.md") from error
    entries = data.get("clips") if isinstance(data, Mapping) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} has no list of clips", "Write clips: [{path: walk.npy}, ...]; see docs/libraries.md")
    found: dict[Path, MotionFile] = {}
    for i, entry in enumerate(entries):
        found |= {x.file: x for x in _listed(f"{path}: clips[{i}]", path.parent, entry)}
    return list(found.values())


def _listed(key: str, folder: Path, entry: Any) -> list[MotionFile]:
    """The files of one entry; `key` is its location, for messages."""
    entry = {"path": entry} if isinstance(entry, str) else entry
    known = ("path", "weight", "tags", "split", "sha256")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str) or not entry["path"]:
        raise UserError(f"{key} has no path", "Write path: walk.npy, relative to the manifest")
    if unknown := set(entry) - set(known):
        raise UserError(f"{key}: unknown key {min(map(str, unknown))}", f"Known: {', '.join(known)}")
    weight, tags, split = entry.get("weight", 1.0), entry.get("tags", []), entry.get("split", "train")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight) or weight < 0:
        raise UserError(f"{key}.weight is {shown(repr(weight))}", "Take a number from 0 on")
    if 0.0 < weight < checks.SMALLEST_WEIGHT or weight > checks.MAX_NUMBER:
        raise UserError(f"{key}.weight is {weight}", f"Take 0, or {checks.SMALLEST_WEIGHT:g} to {checks.MAX_NUMBER:g}")
    tags = [tags] if isinstance(tags, str) else tags
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UserError(f"{key}.tags is not a list of words", "Write tags: [walk, slow]")
    if split not in SPLITS:
        raise UserError(f"{key}.split is {shown(repr(split))}", "Take train or test")
    digest = entry.get("sha256", "")
    if not isinstance(digest, str):
        raise UserError(f"{key}.sha256 is not a string", "Write the 64 digits that sha256sum prints, in quotes")
    try:
        files = clip_files([_place(folder, entry["path"])])
    except UserError as error:
        raise UserError(f"{key}: {error.problem}", error.remedy) from error
    if digest and len(files) > 1:
        raise UserError(f"{key} has one sha256 for {len(files)} files", "Give each file its own entry")
    return [MotionFile(file, float(weight), tuple(tags), split, digest.lower()) for file in files]


def _place(folder: Path, path: str) -> Path:
    """A path or pattern of an entry, relative to the manifest's folder. Brackets in the folder's name are not a pattern."""
    is_pattern = has_magic(path) and not (folder / path).exists()
    return Path(escape(str(folder)), path) if is_pattern else folder / path


def check_digests(path: Path, listed: Sequence[MotionFile]) -> None:
    """Check the digests of files against those in a manifest.

    Raises:
        UserError: a file differs.
    """
    known = [x for x in listed if x.sha256]
    for x, digest in zip(known, digests([x.file for x in known]), strict=True):
        if digest != x.sha256:
            raise UserError(
                f"{x.file} is not the file that {path} means: its sha256 is {digest}, not {x.sha256}",
                "Put the old one back, or write the manifest again: protege sim motions manifest",
            )


def split_up(listed: Sequence[MotionFile], test_share: float, seed: int) -> list[MotionFile]:
    """Assign a random share of the files to the split `test` and the others to `train`."""
    chosen = set(Random(seed).sample(range(len(listed)), round(test_share * len(listed))))
    return [replace(x, split=SPLITS[i in chosen]) for i, x in enumerate(listed)]


def _unlinked(file: Path) -> Path:
    """Absolute path of a file. A link keeps its name, because its target may be named by a digest, as in download caches."""
    return file.parent.resolve() / file.name


def write_manifest(path: Path, listed: Sequence[MotionFile]) -> None:
    """Write a manifest with the digest of each file, paths relative to it.

    Raises:
        UserError: it cannot be written, the file name is invalid, or it is too long for YAML.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is not the name of a manifest", f"Call it {path.with_suffix('.yaml').name}")
    if len(listed) > MAX_YAML_CLIPS and path.suffix != ".json":
        raise UserError(
            f"{len(listed)} clips make a YAML file that takes long to read", f"Call it {path.with_suffix('.json')}"
        )
    base = path.parent.resolve()
    entries = [
        {"path": str(_unlinked(x.file).relative_to(base, walk_up=True)), "weight": x.weight, "tags": list(x.tags),
         "split": x.split, "sha256": digest}
        for x, digest in zip(listed, digests([x.file for x in listed]), strict=True)
    ]  # fmt: skip
    if path.suffix == ".json":
        text = '{"clips": [\n' + ",\n".join(json.dumps(x, ensure_ascii=False) for x in entries) + "\n]}\n"
    else:
        text = plain_yaml.write({"clips": entries})
    write_atomically(path, lambda file: file.write(text.encode()))
