"""Commands that are clips: follow this motion, of which you see these bodies at these times."""

import torch
from torch import Tensor

from protege.core.env import Obs
from protege.core.motion import MotionLibrary
from protege.core.state import RobotState

from ..env_config import EnvConfig
from .masks import MaskSampler
from .window import Frames, ReferenceWindow

STATE = ("clip", "start", "step", "last_step", "pose_mask", "origin")


class MotionCommand:
    """Track clips of a library from a random phase (reference-state initialisation, DeepMimic).

    Args:
        n: worlds.
        library: the clips.
        masks: hides part of the target poses; None shows them all.
        from_start: episodes start at the clip's first frame (evaluation).
    """

    def __init__(
        self,
        n: int,
        library: MotionLibrary,
        config: EnvConfig,
        dt: float,
        masks: MaskSampler | None,
        generator: torch.Generator,
        *,
        from_start: bool,
    ) -> None:
        robot, device = library.robot, library.durations.device
        self.library, self.masks, self.generator, self.dt, self.from_start = library, masks, generator, dt, from_start
        self.max_steps = round(config.episode_length_s / dt)
        self.resample = dt / config.masked_mimic_params.resample_time
        self.steering_size = config.steering_params.obs_size
        self.window = ReferenceWindow(n, robot.num_bodies, robot.num_joints, config.future_frames, dt, device)
        self.clip = torch.zeros(n, dtype=torch.long, device=device)
        self.start = torch.zeros(n, device=device)
        self.origin = torch.zeros(n, 3, device=device)
        self.step = torch.zeros(n, dtype=torch.long, device=device)
        self.last_step = torch.zeros(n, dtype=torch.long, device=device)
        self.pose_mask = torch.ones(n, len(config.future_frames), robot.num_bodies, dtype=torch.bool, device=device)
        self.no_path = torch.zeros(n, 10, 2, device=device)

    def reset(self, rows: Tensor) -> RobotState:
        n = len(rows)
        clip = self.library.sample_clips(n, self.generator)
        duration = self.library.durations[clip]
        # A start in the last half second would be over before it begins; one frame in, velocities are central.
        phase = torch.rand(n, device=duration.device, generator=self.generator) * (not self.from_start)
        start = self.dt + phase * (duration - 0.5).clamp_min(0.0)
        self.clip[rows], self.start[rows], self.step[rows] = clip, start, 0
        self.last_step[rows] = ((duration - start) / self.dt).long().clamp(1, self.max_steps)
        # Every episode starts at the origin, so that coordinates stay small in float32.
        root = self.library.frames(clip, start).root_pos_w
        self.origin[rows] = torch.cat([root[:, :2], torch.zeros_like(root[:, 2:])], dim=1)
        if self.masks is not None:
            self.pose_mask[rows] = self.masks.sample(n, self.generator)
        self.window.fill(rows, self._frames, self.step[rows])
        return self.window.now(rows)

    def advance(self, state: RobotState) -> None:
        self.step += 1
        self.window.advance(self._frames, self.step)
        if self.masks is not None:
            n = len(self.step)
            fresh = torch.rand(n, device=self.step.device, generator=self.generator) < self.resample
            self.pose_mask = torch.where(fresh[:, None, None], self.masks.sample(n, self.generator), self.pose_mask)

    def anchor(self, state: RobotState, rows: Tensor | slice) -> Tensor:
        return torch.zeros_like(state.root_pos_w)

    def observe(self, state: RobotState, rows: Tensor | slice) -> Obs:
        path = self.no_path[rows]
        return {
            "path": path,
            "goal": path.new_zeros(len(path), 3),
            "steering": path.new_zeros(len(path), self.steering_size),
            "command_mask": torch.zeros(len(path), 3, dtype=torch.bool, device=path.device),
            "pose_mask": self.pose_mask[rows],
        }

    def _frames(self, rows: Tensor, steps: Tensor) -> Frames:
        time = self.start[rows, None] + steps * self.dt
        frame = self.library.frames(self.clip[rows, None].expand_as(time), time)
        return frame.joint_pos, frame.body_pos_w - self.origin[rows, None, None], frame.body_quat_w

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).clone() for name in STATE}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name in STATE:
            getattr(self, name).copy_(state[name])
        self.window.fill(torch.arange(len(self.step), device=self.step.device), self._frames, self.step)
