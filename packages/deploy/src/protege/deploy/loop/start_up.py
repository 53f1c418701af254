"""Start-up of a robot: damping, a ramp of the joints to the default pose, holding this pose, then the policy."""

from collections.abc import Callable, Sequence

import numpy as np

from ..interface import Array, RobotReading
from ..safety.safety import Event

RAMP_STEPS = 500  # steps
HOLD_SECONDS = 1.0  # s
UPRIGHT_TILT = 0.4  # rad
UPRIGHT_SECONDS = 2.0  # s below this tilt, after which a fallen robot counts as standing


class StartUp:
    """Joint targets for the steps before the policy's first.

    Args:
        pose: (J,) rad, the end of the ramp.
        period: s between two steps.
        ramp: number of steps from the joints' present angles to the pose.
        hold: s for which the pose is held at least.
        ready: whether the ramp may begin; until then the robot damps. By default immediately.
        go: whether the policy may begin; until then the pose is held. By default after `hold`.
        resumes: whether a fallen robot starts again after someone has stood it up. Otherwise it stays down.

    Attributes:
        done: whether the policy may begin.
    """

    def __init__(
        self,
        pose: Sequence[float],
        period: float,
        *,
        ramp: int = RAMP_STEPS,
        hold: float = HOLD_SECONDS,
        ready: Callable[[], bool] = lambda: True,
        go: Callable[[], bool] = lambda: True,
        resumes: bool = False,
    ) -> None:
        self._pose, self._ramp, self._hold = np.asarray(pose, dtype=np.float64), ramp, round(hold / period)
        self._ready, self._go, self._resumes = ready, go, resumes
        self.begin()

    def begin(self) -> None:
        """Restart at the first step."""
        self.done, self._step, self._upright = False, 0, 0.0
        self._from: Array | None = None

    def target(self, reading: RobotReading) -> Array | None:
        """Joint targets of this step, (J,) rad; None: the robot damps."""
        if self._from is None:
            if not self._ready():
                return None
            self._from = np.array(reading.joint_pos, dtype=np.float64)
        self._step += 1
        share = min(1.0, self._step / max(1, self._ramp))
        self.done = self._step >= self._ramp + self._hold and self._go()
        return ((1.0 - share) * self._from + share * self._pose).astype(np.float32)

    def should_restart(self, tripped: Event | None, reading: RobotReading | None, period: float) -> bool:
        """Whether a fallen robot has been stood up since, and starts again. To be called in every step."""
        if not self._resumes or tripped is None or tripped.cause != "fall" or reading is None:
            self._upright = 0.0
            return False
        _, x, y, _ = (float(v) for v in reading.root_quat_w)
        leans = float(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)))
        self._upright = self._upright + period if leans < UPRIGHT_TILT else 0.0
        return self._upright > UPRIGHT_SECONDS - period / 2.0
