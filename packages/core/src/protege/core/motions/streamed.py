"""The streamed library: a part of a large library is on the device and is replaced during training."""

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import UserError
from ..progress import Progress
from ..robots.robot import Robot
from .block_draws import BlockDraws
from .frames import Frames
from .slots import EMPTY, SlotLibrary

NUM_BLOCKS = 8
"""Number of blocks on the device, which are replaced one after the other."""
SLOT_MARGIN = 1.5
"""Slots of a block, as a multiple of the number of clips of mean length that fit into it."""
DRAWS_PER_SLOT = 4
"""Largest number of draws for a block, as a multiple of its slots. A clip that is drawn twice has twice the weight in the block;
without the limit a clip of very large weight would be drawn endlessly."""
CONFIG_KEY = "env.track.device_frames"


class StreamedLibrary(SlotLibrary):
    """A library that holds a limited number of frames. Clips are sampled by their weights and loaded in blocks.

    Every `interval` control steps the oldest block is replaced. First no more episodes start in it. After `drain` steps, when the
    last episode that started in it has ended, other clips are loaded. No episode is truncated. A library that fits completely is
    loaded once.

    Args:
        source: all clips.
        frames: capacity on the device.
        drain: control steps of the longest episode.
        interval: control steps between replacements; at least `drain`.
        seed: of the draws.

    Attributes:
        streams: whether clips are replaced at all.
    """

    def __init__(
        self, source: Frames, robot: Robot, device: torch.device, frames: int, drain: int, interval: int, seed: int
    ) -> None:
        total, longest = int(source.counts.sum()), int(source.counts.argmax())
        self.streams = total > frames
        blocks, room = (NUM_BLOCKS, frames // NUM_BLOCKS) if self.streams else (1, total)
        if source.counts[longest] > room:
            raise UserError(
                f"{source.names[longest]} has {source.counts[longest]} frames; {CONFIG_KEY}={frames} has room for clips of {room}",
                f"Take {CONFIG_KEY}={NUM_BLOCKS * int(source.counts[longest])} or more",
            )
        often = source.weights / source.weights.sum()
        fit = int(SLOT_MARGIN * room / (often * source.counts).sum()) + 1
        super().__init__(
            source, robot, device, blocks, room, min(fit, len(source.names)) if self.streams else len(source.names)
        )
        self.drain, self.interval, self.step = drain, max(interval, drain), 0
        self.draws = BlockDraws(source.weights, seed)
        with Progress("blocks of clips on the device", blocks) as progress:
            for block in range(blocks):
                self._fill(block)
                progress.at(block + 1)
        self._draw_from_all_but(0 if self.streams else EMPTY)

    @property
    def leaving(self) -> int:
        """The block that is being replaced, or will be replaced next."""
        return self.step // self.interval % self.blocks

    def advance(self) -> bool:
        """Count a control step. Returns whether slots or shares have changed, so that values read from them are outdated."""
        if not self.streams:
            return False
        self.step += 1
        since = self.step % self.interval
        if since == self.drain % self.interval:
            gone = (self.step - self.drain) // self.interval % self.blocks
            self._fill(gone)
            self._draw_from_all_but(self.leaving if since == 0 else EMPTY)
            return True
        if since == 0:
            self._draw_from_all_but(self.leaving)
            return True
        return False

    def _draw_from_all_but(self, block: int) -> None:
        self.draw_from([i for i in range(self.blocks) if i != block])

    def _fill(self, block: int) -> None:
        """Load clips into a block: all clips, or the next ones drawn."""
        if not self.streams:
            self.put(block, range(len(self.names)), self.source.weights.tolist())
            return
        counts, taken, room = self.source.counts, dict[int, int](), self.block_frames
        for _ in range(DRAWS_PER_SLOT * self.block_slots):
            clip = self.draws.next()
            if clip not in taken and (counts[clip] > room or len(taken) == self.block_slots):
                break  # this clip becomes the first one of the next block
            room -= 0 if clip in taken else int(counts[clip])
            taken[clip] = taken.get(clip, 0) + 1
            self.draws.take()
        self.put(block, list(taken), list(taken.values()))

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "clips": torch.from_numpy(self.clips.copy()),
            "times": torch.from_numpy(self.times.copy()),
            "draws": self.draws.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the state from `state_dict` of a library with the same source; the frames are computed again.

        Raises:
            ValueError: the state belongs to another source.
        """
        clips = state["clips"].numpy()
        if clips.max() >= len(self.names) or clips.min() < EMPTY:
            raise ValueError("the library has fewer clips")
        for block in range(self.blocks):
            slots = slice(block * self.block_slots, (block + 1) * self.block_slots)
            held = clips[slots][clips[slots] != EMPTY]
            self.put(block, held.tolist(), state["times"][slots][: len(held)].tolist())
        self.step = state["step"]
        self.draws.load_state_dict(state["draws"])
        is_draining = self.step % self.interval < self.drain or self.drain == self.interval
        self._draw_from_all_but(self.leaving if is_draining else EMPTY)
