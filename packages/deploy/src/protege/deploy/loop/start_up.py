"""Start-up of a robot: damping, a ramp of the joints to the default pose, holding this pose, then the policy."""

from collections.abc import Callable, Sequence

import numpy as np

from ..geometry import Array
from ..interface import RobotReading
from ..safety.safety import Event

RAMP_STEPS = 500  # steps
HOLD_SECONDS = 1.0  # s
UPRIGHT_TILT = 0.4  # rad
UPRIGHT_HEIGHT = 0.8  # share of the root's standing height: a robot that sits or kneels is upright too
UPRIGHT_SECONDS = 2.0  # s below this tilt and above this height, after which a fallen robot counts as stood up


class StartUp:
    """Joint targets for the steps before the policy's first.

    Args:
        pose: (J,) rad, the end of the ramp.
        period: s between two steps.
        ramp: number of steps from the joints' present angles to the pose.
        hold: s for which the pose is held at least.
        ready: whether the ramp may begin; until then the robot damps. By default immediately.
        go: whether the policy may begin; until then the pose is held. By default after `hold`.
        resumes: whether a fallen robot starts again after someone has stood it up. Otherwise it stays down. The policy then begins
            only while the robot is upright.

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
        self._has_fallen = False
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
        steady = not self._has_fallen or reading.tilt < UPRIGHT_TILT
        self.done = self._step >= self._ramp + self._hold and steady and self._go()
        return ((1.0 - share) * self._from + share * self._pose).astype(np.float32)

    def should_restart(
        self, tripped: Event | None, reading: RobotReading | None, period: float, standing_height: float = 0.0
    ) -> bool:
        """Whether a fallen robot has been stood up since, and starts again. To be called in every step.

        Args:
            tripped: why the robot damps.
            reading: the last plausible measurement. Without a height in it the tilt alone decides: a fall is then known by the tilt
                too, and a robot that lies does not rise by itself.
            period: s since the last call.
            standing_height: of the root, m; 0: not known.
        """
        if not self._resumes or tripped is None or tripped.cause != "fall" or reading is None:
            self._upright = 0.0
            return False
        height = float("inf") if reading.root_pos_w is None else float(reading.root_pos_w[2])
        upright = reading.tilt < UPRIGHT_TILT and height > UPRIGHT_HEIGHT * standing_height
        self._upright = self._upright + period if upright else 0.0
        self._has_fallen = True
        return self._upright > UPRIGHT_SECONDS - period / 2.0
