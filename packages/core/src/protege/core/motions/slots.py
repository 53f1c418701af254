"""Clips on the device in replaceable slots. Tensors keep their addresses, so that CUDA graphs can read them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..robots.kinematics import Kinematics
from ..robots.robot import Robot
from ..robots.state import RobotState
from .frames import Frames, body_frames
from .poses import frames_per_step

EMPTY = -1


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: several are up to fifty times slower for small clips on a busy machine, and would change results."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class SlotLibrary:
    """A table of frames in blocks. A block holds as many clips as fit into its frames and slots.

    It has the interface of `MotionLibrary` that tracking tasks use; clip indices are slot indices here.

    Args:
        source: the clips.
        blocks: K.
        block_frames: frames of a block, R.
        block_slots: slots of a block, M.

    Attributes:
        state: (K · R, ...) the frames.
        starts, counts: (K · M,) first frame and number of frames of each slot; an empty slot starts at the next block's start.
        shares: (K · M,) sampling probability of each slot; they sum to 1. 0 for empty slots and for those to be replaced next.
        clips: (K · M,) index of the source's clip in each slot, on the CPU; `EMPTY` for none.
        times: (K · M,) number of draws that each slot represents, on the CPU.
        names: of the source's clips.
    """

    def __init__(
        self, source: Frames, robot: Robot, device: torch.device, blocks: int, block_frames: int, block_slots: int
    ) -> None:
        self.source, self.robot, self.device = source, robot, torch.device(device)
        self.blocks, self.block_frames, self.block_slots = blocks, block_frames, block_slots
        self.stride, self.rate, self.names = frames_per_step(robot.control_dt), source.rate, source.names
        self.kinematics = Kinematics(robot).double().to(self.device)
        self.state = RobotState.empty((blocks * block_frames,), robot.num_joints, robot.num_bodies, self.device)
        for x in vars(self.state).values():
            x.zero_()
        self.num_clips = slots = blocks * block_slots
        self.clips, self.times = np.full(slots, EMPTY), np.zeros(slots)
        self.starts = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.counts = torch.ones(slots, dtype=torch.long, device=self.device)
        self.shares, self.edges = (torch.zeros(slots, device=self.device) for _ in range(2))
        self.last = torch.zeros((), dtype=torch.long, device=self.device)
        self._on_device = torch.full((slots,), EMPTY, dtype=torch.long, device=self.device)

    def put(self, block: int, clips: Sequence[int], times: Sequence[float]) -> None:
        """Replace the contents of a block by clips, which must fit."""
        slots = slice(block * self.block_slots, block * self.block_slots + len(clips))
        whole = slice(block * self.block_slots, (block + 1) * self.block_slots)
        counts = self.source.counts[list(clips)]
        first, end = block * self.block_frames, (block + 1) * self.block_frames
        assert len(clips) <= self.block_slots and counts.sum() <= self.block_frames, "they do not fit"
        self.clips[whole], self.times[whole] = EMPTY, 0.0
        self.clips[slots], self.times[slots] = clips, times
        begun = np.full(self.block_slots, end)
        begun[: len(clips)] = first + counts.cumsum() - counts
        held = np.ones(self.block_slots, dtype=np.int64)
        held[: len(clips)] = counts
        self.starts[whole] = torch.from_numpy(begun).to(self.device)
        self.counts[whole] = torch.from_numpy(held).to(self.device)
        self._on_device[whole] = torch.from_numpy(self.clips[whole]).to(self.device)
        with _one_thread():
            for piece in body_frames(self.source, clips, self.kinematics, self.device):
                size = len(piece.joint_pos)
                for name, x in vars(self.state).items():
                    x[first : first + size] = getattr(piece, name)
                first += size

    def draw_from(self, blocks: Sequence[int]) -> None:
        """Sample only clips of these blocks at episode starts."""
        weight = np.zeros_like(self.times)
        for block in blocks:
            slots = slice(block * self.block_slots, (block + 1) * self.block_slots)
            weight[slots] = self.times[slots]
        shares = torch.from_numpy(weight / weight.sum()).float()
        self.shares.copy_(shares)
        self.edges.copy_(shares.cumsum(0))
        self.last.fill_(int(np.flatnonzero(weight)[-1]))

    def sample_clips(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample n slots by their shares; (n,) indices."""
        draws = torch.rand(n, generator=generator, device=self.device)
        # Because of rounding, a draw just below 1 may exceed the sum of all shares.
        return torch.bucketize(draws, self.edges, right=True).minimum(self.last)

    def slot_at(self, frame: Tensor) -> Tensor:
        """Slots that frames (n,) of the table belong to, (n,)."""
        return torch.bucketize(frame, self.starts[1:], right=True)

    def clip_at(self, frame: Tensor) -> Tensor:
        """Clips that frames (n,) of the table belong to, (n,) indices into `names`."""
        return self._on_device[self.slot_at(frame)]
