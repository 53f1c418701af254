"""The zoo: trained policies with their checksums, recipes and measured results.

An entry is a folder `NAME/` with `model.safetensors`, `config.yaml` and `card.md`; `index.yaml` next to it lists all entries:

    path_follower:
      kind: path_follower
      recipe: protege teachers train path_follower ...
      metrics: {mujoco/path/success: 0.99}
      notes: ...
      sha256: {model.safetensors: ..., config.yaml: ..., card.md: ...}

If weights are too large to be stored, the entry has `weights: false`, the other two files, and the checksum of the weights.

An index may be untrusted: its values are used in paths only if they are one of `FILES` or a plain name.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import yaml

from protege.core.errors import UserError
from protege.core.files import write_atomically
from protege.core.runs.checkpoint import load, save_release

from .cards import write_card
from .entry import CARD, FILES, INDEX, WEIGHTS, Entry, is_plain, problem


def shipped() -> Path:
    """The zoo that comes with this package."""
    return Path(str(files("protege.teachers") / "zoo_data"))


def read_index(zoo: str | Path) -> dict[str, Entry]:
    """The entries of a zoo, by name.

    Args:
        zoo: a folder or a URL.

    Raises:
        UserError: there is no valid index, or it names other files than entries have.
    """
    where = f"{zoo}/{INDEX}"
    try:
        data = yaml.safe_load(_read(zoo, INDEX).decode()) or {}
        index = {name: Entry(name, **facts) for name, facts in data.items()}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where} is not a zoo's index", "Take a folder that `protege-teachers zoo add` wrote"
        ) from error
    for entry in index.values():
        if wrong := problem(entry):
            raise UserError(f"{where}: {wrong}", "Nothing was loaded from it; tell its maintainer")
    return index


def add(
    zoo: Path,
    name: str,
    checkpoint: str | Path,
    recipe: str,
    metrics: Mapping[str, float],
    *,
    half: bool = True,
    critic: bool = True,
    notes: str = "",
    weights: bool = True,
) -> Entry:
    """Add a trained policy to a zoo atomically: weights, config, card, and its entry in the index.

    Args:
        half, critic: see `save_release`.
        notes, weights: see `Entry`.

    Raises:
        UserError: the name is invalid, the checkpoint does not exist, or the zoo is not writable.
    """
    _check_name(name)
    saved, index = load(checkpoint), _own_index(zoo)
    entry = Entry(name, saved.kind, recipe, dict(metrics), notes, weights=weights)
    with _staged(zoo, name) as part:
        save_release(part, saved, half=half, critic=critic)
        (part / CARD).write_text(write_card(entry, saved), encoding="utf-8")
        entry = replace(entry, sha256={file: _sha256((part / file).read_bytes()) for file in FILES})
        if not weights:
            (part / WEIGHTS).unlink()
    _write_index(zoo, {**index, name: entry})
    return entry


def describe(zoo: Path, name: str, metrics: Mapping[str, float], notes: str | None = None) -> Entry:
    """Replace an entry's metrics, and its notes unless they are None, and rewrite its card. The weights do not change.

    Raises:
        UserError: the entry does not exist or has no weights, or the zoo is not writable.
    """
    entry = find(zoo, name)
    _require_weights(zoo, entry)
    saved = load(zoo / name)
    entry = replace(entry, metrics=dict(metrics), notes=entry.notes if notes is None else notes)
    card = write_card(entry, saved).encode()
    write_atomically(zoo / name / CARD, lambda file: file.write(card))
    entry = replace(entry, sha256={**entry.sha256, CARD: _sha256(card)})
    _write_index(zoo, {**read_index(zoo), name: entry})
    return entry


def verify(zoo: Path, name: str) -> list[str]:
    """Errors of an entry: files that are missing or differ from their checksums; empty if it is intact."""
    entry = find(zoo, name)
    problems = []
    for file in entry.files:
        path = zoo / name / file
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif _sha256(path.read_bytes()) != entry.sha256[file]:
            problems.append(f"{path} differs from its checksum")
    return problems


def pull(zoo: str | Path, name: str, target: Path) -> Path:
    """Copy an entry from a folder or a URL into another zoo, atomically.

    Returns:
        the entry's folder.

    Raises:
        UserError: the entry is unknown or has no weights, the zoo is unreachable, a checksum differs, or `target` is not writable.
    """
    entry, index = find(zoo, name), _own_index(target)
    _require_weights(zoo, entry)
    with _staged(target, name) as part:
        for file, wanted in entry.sha256.items():
            data = _read(zoo, f"{name}/{file}")
            if _sha256(data) != wanted:
                raise UserError(
                    f"{zoo}/{name}/{file} differs from its checksum", "Pull it again, or tell the zoo's maintainer"
                )
            (part / file).write_bytes(data)
    _write_index(target, {**index, name: entry})
    return target / name


def find(zoo: str | Path, name: str) -> Entry:
    """An entry by name.

    Raises:
        UserError: there is no such entry; names the existing ones.
    """
    index = read_index(zoo)
    if name not in index:
        raise UserError(f"{zoo} has no entry {name!r}", f"It has {', '.join(index) or 'none'}")
    return index[name]


def _require_weights(zoo: str | Path, entry: Entry) -> None:
    if not entry.weights:
        raise UserError(f"{zoo} has no weights of {entry.name}, only its recipe", f"Train it: {entry.recipe}")


@contextmanager
def _staged(zoo: Path, name: str) -> Iterator[Path]:
    """A temporary folder that then replaces the entry `name`; it is removed if an error occurs."""
    part = None
    try:
        zoo.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=zoo, prefix=f".{name}."))
        yield part
        part.chmod(0o755)
        shutil.rmtree(zoo / name, ignore_errors=True)
        os.replace(part, zoo / name)
    except OSError as error:
        raise UserError(f"cannot write {zoo / name} ({error.strerror})", "Choose another folder for the zoo") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _own_index(zoo: Path) -> dict[str, Entry]:
    """The index of a zoo that will be written; empty if it does not exist yet."""
    return read_index(zoo) if (zoo / INDEX).is_file() else {}


def _check_name(name: str) -> None:
    if not is_plain(name):
        raise UserError(f"{name!r} cannot be the name of an entry", "Use letters, digits, _, - and dots within")


def _read(zoo: str | Path, file: str) -> bytes:
    where = f"{str(zoo).rstrip('/')}/{file}"
    try:
        if "://" in where:
            with urlopen(where, timeout=60) as answer:
                return answer.read()
        return Path(where).read_bytes()
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise UserError(f"cannot read {where} ({error})", "Give a folder or URL that holds a zoo: --zoo") from error


def _write_index(zoo: Path, index: Mapping[str, Entry]) -> None:
    data = {
        name: {key: x for key, x in asdict(entry).items() if key != "name"} for name, entry in sorted(index.items())
    }
    write_atomically(zoo / INDEX, lambda file: file.write(yaml.safe_dump(data, sort_keys=False).encode()))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
