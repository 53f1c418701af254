"""The motion library: clips on the device in one table of frames, resampled once."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from ..robots import rotation as R
from ..robots.robot import Robot
from ..robots.state import RobotState
from .clip import Clip
from .poses import frames_per_step
from .table import frame_counts, frame_table


def different_names(names: Sequence[str]) -> list[str]:
    """Make names unique: those that occur several times get their index as a suffix."""
    count = Counter(names)
    return [name if count[name] == 1 else f"{name}-{i}" for i, name in enumerate(names)]


class MotionLibrary:
    """Clips on the device that can be sampled and interpolated at any time.

    Clips are resampled once with an integer number of frames per control step. The rest of a clip after its last frame is dropped.
    Body poses come from forward kinematics, velocities from central differences.

    Attributes:
        stride: frames per control step.
        rate: frame rate, Hz.
        state: (F, ...) the frames of all clips, in the clips' order.
        starts, counts: (C,) first frame and number of frames of each clip.
        durations: (C,) s.
        names: of the clips; clips with equal names have their index as a suffix.
        shares: (C,) sampling probability of each clip; they sum to 1.

    Args:
        weights: sampling weights of the clips; equal by default.
    """

    def __init__(
        self, clips: Sequence[Clip], robot: Robot, device: torch.device | str, weights: Sequence[float] | None = None
    ) -> None:
        self.robot, self.names = robot, different_names([clip.name for clip in clips])
        self.num_clips = len(clips)
        weight = torch.tensor([1.0] * len(clips) if weights is None else list(weights), dtype=torch.float64)
        self.shares = (weight / weight.sum()).float().to(device)
        self.edges = self.shares.cumsum(0)[:-1]
        self.last = int(weight.nonzero().max())
        self.stride = frames_per_step(robot.control_dt)
        self.rate = self.stride / robot.control_dt
        self.state = frame_table(clips, robot, device, self.rate)
        self.counts = torch.from_numpy(frame_counts(clips, self.rate)).to(device)
        self.starts = self.counts.cumsum(0) - self.counts
        self.durations = (self.counts - 1) / self.rate

    def sample_clips(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample n clips by their weights; (n,) indices."""
        draws = torch.rand(n, generator=generator, device=self.edges.device)
        # Because of rounding, a draw just below 1 may exceed the sum of all shares.
        return torch.bucketize(draws, self.edges, right=True).clamp_max(self.last)

    def clip_at(self, frame: Tensor) -> Tensor:
        """Clips that frames (n,) of the table belong to, (n,) indices into `names`."""
        return self.slot_at(frame)

    def slot_at(self, frame: Tensor) -> Tensor:
        """Indices into `starts` of the clips that frames (n,) of the table belong to, (n,); see `SlotLibrary.slot_at`."""
        return torch.bucketize(frame, self.starts[1:], right=True)

    def frames(self, clip: Tensor, time: Tensor) -> RobotState:
        """The motion at given times.

        Args:
            clip: indices, any shape.
            time: since the clip's start, s, of the same shape; clamped to the clip.

        Returns:
            a state whose leading dimensions are those of `time`.
        """
        position = (time * self.rate).clamp_min(0.0)
        last = self.counts[clip] - 1
        low = torch.minimum(position.long(), last - 1)
        t = (position - low).clamp(0.0, 1.0)
        low = low + self.starts[clip]
        high = low + 1
        s, t1, t2 = self.state, t[..., None], t[..., None, None]
        return RobotState(
            joint_pos=torch.lerp(s.joint_pos[low], s.joint_pos[high], t1),
            joint_vel=torch.lerp(s.joint_vel[low], s.joint_vel[high], t1),
            body_pos_w=torch.lerp(s.body_pos_w[low], s.body_pos_w[high], t2),
            body_quat_w=R.slerp(s.body_quat_w[low], s.body_quat_w[high], t2),
            body_lin_vel_w=torch.lerp(s.body_lin_vel_w[low], s.body_lin_vel_w[high], t2),
            body_ang_vel_w=torch.lerp(s.body_ang_vel_w[low], s.body_ang_vel_w[high], t2),
        )
