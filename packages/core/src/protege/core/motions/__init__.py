"""Motions: clips on disk, and a library of them on the device."""

from .clip import Clip, clip_dtype, load_clip, load_clips, save_clip
from .library import MotionLibrary

__all__ = ["Clip", "MotionLibrary", "clip_dtype", "load_clip", "load_clips", "save_clip"]
