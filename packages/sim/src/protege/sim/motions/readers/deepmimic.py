"""DeepMimic's humanoid3d text clips (Peng et al. 2018, arXiv 1804.02717): always its own humanoid, y up."""

import numpy as np
from numpy.typing import NDArray

from ..source import SkeletonMotion
from .deepmimic_file import check_source, read_deepmimic
from .document import Document
from .humanoid3d import COLUMNS, skeleton, to_world
from .options import Options

RATE = 60.0
"""Frames per second after resampling frames of different lengths."""
SOURCE = "DeepMimic (Peng et al. 2018, arXiv 1804.02717)"


def recognises(document: Document) -> bool:
    """JSON with the key Frames."""
    return document.container == "text" and document.data.lstrip()[:1] == "{" and '"Frames"' in document.data


def read(document: Document, options: Options) -> list[SkeletonMotion]:
    """The motion of a clip: a frame is 44 numbers, duration, root position, then rotations.

    Quaternions have w first; elbows and knees are single angles. In the zero pose the arms hang.
    """
    source = read_deepmimic(document.data, document.file)
    doubts = check_source(source, document.file)
    time, frames = _resample(source.time, source.frames)
    root_pos, found = to_world(frames)
    body = skeleton()
    rotations = np.stack([found[name].numpy() for name in body.names], axis=1)
    return [
        SkeletonMotion(document.name, time, root_pos.numpy(), rotations[:, 0], RATE, "deepmimic", document.file, SOURCE,
                       wraps=source.wraps, warnings=tuple(doubts), skeleton=body, rotations=rotations)
    ]  # fmt: skip


def _resample(time: NDArray[np.float64], frames: NDArray[np.float64]) -> tuple[np.ndarray, np.ndarray]:
    """Frames at 60 Hz; quaternions are made consistent in sign, interpolated and normalised."""
    frames = frames.copy()
    for start, width in COLUMNS.values():
        if width == 4:
            q = frames[:, start : start + 4]
            for i in range(1, len(q)):
                if q[i] @ q[i - 1] < 0.0:
                    q[i] = -q[i]
    even = np.linspace(0.0, time[-1], max(2, round(time[-1] * RATE) + 1))
    columns = np.stack([np.interp(even, time, frames[:, c]) for c in range(frames.shape[1])], axis=1)
    for start, width in COLUMNS.values():
        if width == 4:
            columns[:, start : start + 4] /= np.linalg.norm(columns[:, start : start + 4], axis=1, keepdims=True)
    return even, columns
