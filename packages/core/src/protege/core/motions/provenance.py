"""Sources and licences of the motions that a policy learns from. They decide whether the policy may be redistributed."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from ..robots.robot import Robot
from .clip import clip_files
from .clip_file import read_facts
from .clip_paths import ClipError
from .conversion import converter_for


@dataclass(frozen=True)
class Origin:
    """The origin of one clip, or of several with the same source and licence.

    Attributes:
        name: of the clip; for several clips their number, such as `12 clips`.
        source: of the motion; empty if its file does not contain it.
        licence: of the motion; empty if its file does not contain it.
        sha256: of the motion file; empty for several clips.
    """

    name: str
    source: str = ""
    licence: str = ""
    sha256: str = ""


def origins(motion_files: Sequence[str], robot: Robot) -> list[Origin]:
    """Origins of the clips that the values of `--motion-file` refer to, in order; see `clip_files`.

    Raises:
        UserError: a file is missing, or cannot be read.
    """
    return [origin for file in clip_files(motion_files) for origin in _of_file(file, robot)]


def _of_file(file: Path, robot: Robot) -> list[Origin]:
    """Origin of a clip, or of all motions in a file of another format."""
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if converter := converter_for(file):
            clips = converter.clips(file, robot)
            names = [file.stem] if len(clips) == 1 else [clip.name for clip in clips]
            return [Origin(name, clip.source, clip.licence, digest) for name, clip in zip(names, clips, strict=True)]
        facts = read_facts(file)
    except ClipError as error:
        raise UserError(error.problem, error.remedy) from error
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror})", "Is it a clip?") from error
    return [Origin(file.stem, facts.source, facts.licence, digest)]


def summed(found: Sequence[Origin]) -> list[Origin]:
    """One origin for each source and licence, with the number of its clips as its name."""
    counts = Counter((one.source, one.licence) for one in found)
    return [Origin(f"{count} clip{'s' * (count != 1)}", *facts) for facts, count in counts.items()]


def clip_count(origin: Mapping[str, str]) -> int:
    """Number of clips that an origin, as plain data, represents: 1 unless it comes from `summed`."""
    number, _, word = origin["name"].partition(" ")
    return int(number) if not origin["sha256"] and word in ("clip", "clips") and number.isdecimal() else 1


def joined(*several: Iterable[Mapping[str, str] | Origin]) -> list[dict[str, str]]:
    """Concatenate lists of origins as plain data, without duplicates."""
    plain = (asdict(one) if isinstance(one, Origin) else dict(one) for many in several for one in many)
    return list({tuple(one.items()): one for one in plain}.values())


def are_origins(value: object) -> bool:
    """Whether plain data from a file is a list of origins."""
    keys = set(Origin.__dataclass_fields__)
    return isinstance(value, list) and all(
        isinstance(one, dict) and set(one) == keys and all(isinstance(text, str) for text in one.values())
        for one in value
    )
