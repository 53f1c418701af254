"""Motion clips on disk, and motion libraries on the device."""

from .clip import Clip, clip_files, clip_robot, findings, load_clip, load_clips, read_clip, save_clip
from .clip_file import clip_dtype
from .library import MotionLibrary
from .plausibility import Finding
from .slots import SlotLibrary
from .streamed import StreamedLibrary

__all__ = [
    "Clip",
    "Finding",
    "MotionLibrary",
    "SlotLibrary",
    "StreamedLibrary",
    "clip_dtype",
    "clip_files",
    "clip_robot",
    "findings",
    "load_clip",
    "load_clips",
    "read_clip",
    "save_clip",
]
