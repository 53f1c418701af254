"""The zoo: trained policies with their checksums, recipes and measured results.

An entry is a folder `NAME/` with `model.safetensors`, `config.yaml` and `card.md`; `index.yaml` beside it lists all entries:

    path_follower:
      kind: path_follower
      recipe: protege teachers train path_follower ...
      metrics: {path/success: 0.99}
      sha256: {model.safetensors: ..., config.yaml: ...}
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from protege.core.checkpoint import load, save_release, write_atomically
from protege.core.errors import UserError

FILES = ("model.safetensors", "config.yaml", "card.md")


@dataclass(frozen=True)
class Entry:
    """One trained policy.

    Attributes:
        name: its folder.
        kind: tracker, masked_mimic, path_follower, goal_directed, steering or student.
        recipe: the command that trained it.
        metrics: its evaluation.
        sha256: of each of its files.
    """

    name: str
    kind: str
    recipe: str
    metrics: dict[str, float] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)


def shipped() -> Path:
    """The zoo that comes with this package."""
    return Path(str(files("protege.teachers") / "zoo_data"))


def read_index(zoo: str | Path) -> dict[str, Entry]:
    """The entries of a zoo, by name.

    Args:
        zoo: a folder or a URL.

    Raises:
        UserError: there is no index, or it is not one.
    """
    text = _read(zoo, "index.yaml").decode()
    try:
        data = yaml.safe_load(text) or {}
        return {name: Entry(name, **facts) for name, facts in data.items()}
    except (yaml.YAMLError, TypeError, AttributeError) as error:
        raise UserError(
            f"{zoo}/index.yaml is not a zoo's index", "Take a folder that `protege-teachers zoo add` wrote"
        ) from error


def add(
    zoo: Path, name: str, checkpoint: str | Path, recipe: str, metrics: Mapping[str, float], *, half: bool = True
) -> Entry:
    """Put a trained policy into a zoo: weights, config, card, and its line in the index."""
    saved = load(checkpoint)
    folder = zoo / name
    save_release(folder, saved, half=half)
    entry = Entry(name, saved.kind, recipe, dict(metrics))
    text = _card(entry, saved.samples, saved.seconds)
    write_atomically(folder / "card.md", lambda file: file.write(text.encode()))
    entry = Entry(
        name, saved.kind, recipe, dict(metrics), {file: _sha256((folder / file).read_bytes()) for file in FILES}
    )
    index = read_index(zoo) if (zoo / "index.yaml").is_file() else {}
    _write_index(zoo, {**index, name: entry})
    return entry


def verify(zoo: Path, name: str) -> list[str]:
    """What is wrong with an entry: files that are missing or differ from the index; empty if it is whole."""
    entry = find(zoo, name)
    problems = []
    for file, wanted in entry.sha256.items():
        path = zoo / name / file
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif _sha256(path.read_bytes()) != wanted:
            problems.append(f"{path} differs from its checksum")
    return problems


def pull(zoo: str | Path, name: str, target: Path) -> Path:
    """Copy an entry from a folder or a URL into another zoo, whole or not at all.

    Returns:
        the entry's folder.

    Raises:
        UserError: unknown entry, unreachable, or a checksum differs.
    """
    entry = find(zoo, name)
    try:
        target.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target, prefix=f".{name}."))
    except OSError as error:
        raise UserError(f"cannot write {target} ({error.strerror})", "Choose another --output") from error
    try:
        for file, wanted in entry.sha256.items():
            data = _read(zoo, f"{name}/{file}")
            if _sha256(data) != wanted:
                raise UserError(
                    f"{zoo}/{name}/{file} differs from its checksum", "Pull it again, or tell who keeps the zoo"
                )
            (part / file).write_bytes(data)
        os.chmod(part, 0o755)
        shutil.rmtree(target / name, ignore_errors=True)
        os.replace(part, target / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    index = read_index(target) if (target / "index.yaml").is_file() else {}
    _write_index(target, {**index, name: entry})
    return target / name


def find(zoo: str | Path, name: str) -> Entry:
    """An entry by name.

    Raises:
        UserError: naming those that there are.
    """
    index = read_index(zoo)
    if name not in index:
        raise UserError(f"{zoo} has no entry {name!r}", f"It has {', '.join(index) or 'none'}")
    return index[name]


def _read(zoo: str | Path, file: str) -> bytes:
    where = f"{str(zoo).rstrip('/')}/{file}"
    try:
        if "://" in where:
            with urlopen(where, timeout=60) as answer:
                return answer.read()
        return Path(where).read_bytes()
    except (OSError, URLError, ValueError) as error:
        raise UserError(f"cannot read {where} ({error})", "Give a folder or URL that holds a zoo: --zoo") from error


def _write_index(zoo: Path, index: Mapping[str, Entry]) -> None:
    data = {
        name: {key: x for key, x in asdict(entry).items() if key != "name"} for name, entry in sorted(index.items())
    }
    write_atomically(zoo / "index.yaml", lambda file: file.write(yaml.safe_dump(data, sort_keys=False).encode()))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _card(entry: Entry, samples: int, seconds: float) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in entry.metrics.items())
    table = f"\n| metric | value |\n| --- | --- |\n{rows}\n" if rows else "\nNot evaluated.\n"
    return f"""# {entry.name}

A policy of kind `{entry.kind}`, trained on {samples:,} transitions in {seconds:,.0f} s.

    {entry.recipe}
{table}"""
