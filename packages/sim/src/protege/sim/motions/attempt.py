"""Whether physics allows a clip: sampling-based control tries to follow it in MuJoCo, without learning.

Model predictive path integral control (Williams et al. 2015, arXiv 1509.01149): many random changes of the servos' targets are
rolled out over the next half second, and the robot executes the first step of their average, weighted by how close they keep it to
the clip. A clip that cannot be followed this way is unlikely to be learned.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from mujoco import rollout
from numpy.typing import NDArray

from protege.core.motions import Clip, MotionLibrary
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.threads import available_cores

from ..engine import mujoco
from ..robots.mjcf import build_spec, coordinates

LOST_MEAN_DISTANCE = 0.5  # m; a tracker fails, too, when the bodies are further away than this on average
HORIZON_SECONDS = 0.47  # s
ROUND_DEVIATIONS = (1.0, 0.5)  # of sampling a control step, with these shares of the deviation
DEVIATION_FACTOR = 1.1  # of that with which training explores each joint
CORRELATION_TIME = 0.0935  # s, in which the correlation of changes falls to 1/e
VELOCITY_FEEDFORWARD = 0.7  # as `ModelConfig.reference_velocity`
LIN_VEL, ANG_VEL = 0.004, 0.0005  # s², weights of the root's velocities beside the bodies' squared distances
SHARPNESS = 3.0  # the weight of a sample at the end of the best tenth is e to the power of minus this
STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Attempt:
    """The result of an attempt.

    Attributes:
        distance: (T,) m, mean distance of the bodies from the clip after each control step; ends when the robot is lost.
        motion: the robot's motion, T + 1 frames.
    """

    distance: Array
    motion: Clip

    @property
    def lost(self) -> bool:
        """Whether the robot has moved too far away from the clip."""
        return bool(self.distance[-1] > LOST_MEAN_DISTANCE)


def attempt(
    clip: Clip,
    robot: Robot,
    *,
    seconds: float = math.inf,
    samples: int = 128,
    threads: int = 0,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Attempt:
    """Follow a clip from its first frame until it ends or the robot is lost.

    Args:
        seconds: largest length of the part that is followed.
        samples: number of rollouts per round.
        threads: 0 for one per core. The result does not depend on it.
        seed: seed of the random changes.
        progress: called after each control step with the completed share.
    """
    target, physics, random = _Target(clip, robot), _Physics(robot, threads), np.random.default_rng(seed)
    horizon = round(HORIZON_SECONDS / robot.control_dt)
    state, change = physics.at(target.qpos[0], target.qvel[0]), np.zeros((horizon, robot.num_joints))
    deviation = np.array([DEVIATION_FACTOR * x.action_scale * math.exp(x.log_std) for x in robot.joints])
    correlation = math.exp(-robot.control_dt / CORRELATION_TIME)
    qpos, distance = [target.qpos[0]], []
    steps = max(1, round(min(seconds / robot.control_dt, len(target.qpos) - 1)))
    for step in range(steps):
        ahead = np.minimum(np.arange(step + 1, step + 1 + horizon), len(target.qpos) - 1)
        change = np.concatenate([change[1:], change[-1:]])
        for share in ROUND_DEVIATIONS:
            tried = change + share * deviation * _correlated_noise(random, (samples, *change.shape), correlation)
            tried[0] = change
            ends = physics.play(state, target.servo[ahead] + tried)
            change = np.tensordot(_weights(target.cost(physics, ends, ahead)), tried, axes=1)
        state = physics.play(state, (target.servo[ahead[:1]] + change[:1])[None])[0, 0]
        qpos.append(physics.qpos(state))
        error = physics.bodies(qpos[-1][None])[0] - target.bodies[step + 1]
        distance.append(np.linalg.norm(error, axis=-1).mean())
        if progress:
            progress((step + 1) / steps)
        if distance[-1] > LOST_MEAN_DISTANCE:
            break
    physics.pool.close()
    done, time = np.array(qpos), robot.control_dt * np.arange(len(qpos))
    motion = Clip(clip.name, time, done[:, :3], done[:, 3:7], done[:, 7:], robot.joint_names, robot.name)
    return Attempt(np.array(distance), replace(motion, fps=1.0 / robot.control_dt, source=f"an attempt at {clip.name}"))


class _Target:
    """The motion to follow, at the ends of T control steps.

    Attributes:
        qpos: (T, 7 + J) and qvel (T, 6 + J), MuJoCo's coordinates.
        bodies: (T, B, 3) m.
        servo: (T, J) rad, targets of the servos without changes.
    """

    def __init__(self, clip: Clip, robot: Robot) -> None:
        library = MotionLibrary([clip], robot, "cpu")
        frames = library.state[:: library.stride]
        damping_time = torch.tensor([joint.damping / joint.stiffness for joint in robot.joints])
        self.qpos, self.qvel = (x.double().numpy() for x in coordinates(frames))
        self.bodies = frames.body_pos_w.double().numpy()
        self.servo = (frames.joint_pos + VELOCITY_FEEDFORWARD * damping_time * frames.joint_vel).double().numpy()

    def cost(self, physics: "_Physics", ends: Array, at: NDArray[np.int64]) -> Array:
        """(N,) distance of states (N, H, S) from the frames `at` (H,); the last one counts three times."""
        bodies = physics.bodies(physics.qpos(ends).reshape(-1, self.qpos.shape[1]))
        off = ((bodies.reshape(*ends.shape[:2], -1, 3) - self.bodies[at]) ** 2).sum(-1).mean(-1)
        speed = (physics.qvel(ends)[..., :6] - self.qvel[at, :6]) ** 2
        total = off.sum(1) + 2.0 * off[:, -1] + (speed @ np.repeat([LIN_VEL, ANG_VEL], 3)).sum(1)
        return np.where(np.isfinite(total), total, np.inf)


class _Physics:
    """MuJoCo's rollouts; a state is a row of numbers (S,)."""

    def __init__(self, robot: Robot, threads: int) -> None:
        self.model, self.substeps = build_spec(robot).compile(), robot.substeps
        self.data = [mujoco.MjData(self.model) for _ in range(threads or available_cores())]
        self.pool = rollout.Rollout(nthread=len(self.data))
        self.kinematics = Kinematics(robot).double()

    def at(self, qpos: Array, qvel: Array) -> Array:
        """(S,) the state of a robot with these coordinates."""
        data, state = self.data[0], np.zeros(mujoco.mj_stateSize(self.model, int(STATE)))
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_getState(self.model, data, state, int(STATE))
        return state

    def play(self, state: Array, servo: Array) -> Array:
        """(N, H, S) states after each control step of N robots with the same start state and targets (N, H, J) rad."""
        control = np.repeat(servo, self.substeps, axis=1)
        states, _ = self.pool.rollout(self.model, self.data, state[None], control)
        return states[:, self.substeps - 1 :: self.substeps]

    def qpos(self, states: Array) -> Array:
        """(..., 7 + J); the first number of a state is the time."""
        return states[..., 1 : 1 + self.model.nq]

    def qvel(self, states: Array) -> Array:
        """(..., 6 + J)."""
        return states[..., 1 + self.model.nq : 1 + self.model.nq + self.model.nv]

    def bodies(self, qpos: Array) -> Array:
        """(N, B, 3) m."""
        rows = torch.from_numpy(np.ascontiguousarray(qpos))
        return self.kinematics(rows[:, :3], rows[:, 3:7], rows[:, 7:])[0].numpy()


def _correlated_noise(random: np.random.Generator, shape: tuple[int, int, int], correlation: float) -> Array:
    """(N, H, J) noise of standard deviation 1; `correlation` is that between consecutive control steps."""
    fresh = random.standard_normal(shape)
    for step in range(1, shape[1]):
        fresh[:, step] = correlation * fresh[:, step - 1] + (1.0 - correlation**2) ** 0.5 * fresh[:, step]
    return fresh


def _weights(cost: Array) -> Array:
    """(N,) weights that sum to 1, largest for the cheapest sample; 0 for samples that exploded, unless all did."""
    good = int(np.isfinite(cost).sum())
    if not good:
        return np.full(len(cost), 1.0 / len(cost))
    above = cost - cost.min()
    scale = max(np.sort(above)[min(len(cost) // 10, good - 1)], 1e-9)
    weights = np.exp(-SHARPNESS * above / scale)
    return weights / weights.sum()


def summary(result: Attempt) -> str:
    """The result in words."""
    distance, time = result.distance, result.motion.time
    worst = int(distance.argmax())
    where = f"{100 * distance.mean():.1f} cm off on average, {100 * distance[worst]:.1f} cm at {time[worst + 1]:.2f} s"
    if result.lost:
        return f"{result.motion.name}: lost after {time[-1]:.2f} s; {where}"
    return f"{result.motion.name}: followed for {time[-1]:.2f} s, {where} at most"
