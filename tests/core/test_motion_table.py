"""The table of frames is filled piece by piece: values do not depend on the pieces, and little memory is used."""

import numpy as np
import pytest
import torch

from protege.core.motions import Clip, MotionLibrary, table
from protege.core.robots.state import RobotState
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")


def swinging(name: str, frames: int, rate: float) -> Clip:
    """A clip that moves along x, turns left and swings all joints; different for each length."""
    time = 3.0 + np.arange(frames) / rate
    phase = np.arange(frames) / rate
    yaw = 0.3 * phase + frames
    quat = np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], axis=1)
    pos = np.stack([phase, 0.1 * np.sin(phase), 1.0 + 0 * phase], axis=1)
    joints = 0.3 * np.sin(phase[:, None] * (1.0 + np.arange(ROBOT.num_joints)))
    return Clip(name, time, pos, quat, joints)


CLIPS = [
    swinging(f"{n}", n, rate) for n, rate in ((2, 30.0), (3, 60.0), (40, 60.0), (5, 25.0), (77, 120.0), (2, 1000.0))
]


def rows(library: MotionLibrary, clip: int) -> RobotState:
    first = int(library.starts[clip])
    return library.state[first : first + int(library.counts[clip])]


@pytest.mark.parametrize("piece", [1, 2, 3, 10, 4096])
def test_a_clips_frames_do_not_depend_on_other_clips_or_the_piece_size(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 1 each row has its neighbours from other pieces; at 10 pieces hold several clips and end within others."""
    alone = [MotionLibrary([clip], ROBOT, "cpu").state for clip in CLIPS]
    monkeypatch.setattr(table, "PIECE_ROWS", piece)
    library = MotionLibrary(CLIPS, ROBOT, "cpu")
    assert library.counts.tolist() == [3, 3, 40, 10, 39, 3]
    for i, expected in enumerate(alone):
        for name, x in vars(rows(library, i)).items():
            torch.testing.assert_close(x, getattr(expected, name), rtol=0.0, atol=2e-7, msg=f"{name} of clip {i}")


def test_velocities_do_not_mix_neighbouring_clips() -> None:
    """Two clips with a speed of 1 m/s, a hundred metres apart: the speed is 1 m/s in every frame."""
    near, far = swinging("a", 31, 60.0), swinging("b", 31, 60.0)
    for clip, x in ((near, 0.0), (far, 100.0)):
        clip.root_pos_w[:, 0] = x + np.arange(31) / 60.0
        clip.root_quat_w[:] = [1.0, 0.0, 0.0, 0.0]
    speed = MotionLibrary([near, far], ROBOT, "cpu").state.root_lin_vel_w[:, 0]
    torch.testing.assert_close(speed, torch.ones(62), rtol=0.0, atol=1e-5)


def test_frames_are_computed_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory besides the table is bounded, for one long clip and for many short ones."""
    seen: list[int] = []
    original = table.Kinematics.forward

    def forward(self: table.Kinematics, *args: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(args[0]))
        return original(self, *args)

    monkeypatch.setattr(table.Kinematics, "forward", forward)
    monkeypatch.setattr(table, "PIECE_ROWS", 50)
    MotionLibrary([swinging("long", 241, 60.0)], ROBOT, "cpu")
    assert seen == [51, 52, 52, 52, 42]  # 241 rows in five pieces, with a neighbour on either side
    seen.clear()
    MotionLibrary([swinging("short", 3, 60.0)] * 40, ROBOT, "cpu")
    assert seen == [51, 52, 21]
