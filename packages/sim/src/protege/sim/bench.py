"""How fast the environment is against bare MuJoCo: same model, substeps, threads, and walking states.

Rates are control steps of all worlds together, a second. The three are measured in turns, so that a busy machine slows
all alike. Simulators start each burst on random frames of the walking clip and follow it with noise on the targets; what
puts them there, and what makes up the actions, is not timed.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from protege.core import rotation as R
from protege.core.motion import MotionLibrary, load_clips
from protege.core.robot import Robot
from protege.core.state import RobotState

from .backends.mujoco import MujocoSimulator
from .engine import mujoco
from .env import HumanoidEnv
from .env_config import EnvConfig
from .mjcf import build_spec
from .render import state_qpos
from .robots import get_robot

CLIP = "smpl_humanoid_walk.npy"
BURST = 15  # control steps; half a second of noise does not bring a walker down
NOISE = 0.05  # rad, about what an exploring policy adds

Burst = Callable[[], float]
"""Runs BURST control steps of all worlds; returns the seconds they took."""


@dataclass(frozen=True)
class Rates:
    """Control steps a second of all worlds together."""

    num_envs: int
    threads: int
    bare_mujoco: float
    simulator: float
    environment: float

    @property
    def ratio(self) -> float:
        """Environment to bare MuJoCo."""
        return self.environment / self.bare_mujoco

    def to_dict(self) -> dict[str, float]:
        return {**asdict(self), "ratio": self.ratio}


def measure(num_envs: int, seconds: float, threads: int = 0, robot_name: str = "smpl") -> Rates:
    """Measure all three for `seconds` each. threads: 0 for one a core."""
    threads = threads or os.cpu_count() or 1
    robot = get_robot(robot_name)
    walk = Walk(robot, num_envs)
    simulator = MujocoSimulator(robot, num_envs, num_threads=threads)
    physics = MujocoSimulator(robot, num_envs, num_threads=threads)
    config = EnvConfig(num_envs=num_envs, task_mix={"track": 1.0})
    env = HumanoidEnv(physics, walk.clips, config, seed=0)
    bursts: list[Burst] = [bare_burst(robot, walk, threads), simulator_burst(simulator, walk), environment_burst(env)]
    spent, done = [0.0] * 3, [0] * 3
    for burst in bursts:
        burst()  # touches memory, starts threads
    while min(spent) < seconds:
        for index, burst in enumerate(bursts):
            spent[index] += burst()
            done[index] += BURST * num_envs
    simulator.close()
    env.close()
    return Rates(num_envs, threads, *(count / time for count, time in zip(done, spent, strict=True)))


class Walk:
    """Random frames of a walking clip, and targets that follow it with noise."""

    def __init__(self, robot: Robot, num_envs: int) -> None:
        self.clips, self.num_envs, self.dt = load_clips([CLIP], robot), num_envs, robot.control_dt
        self.library = MotionLibrary(self.clips, robot, "cpu")
        self.generator = torch.Generator().manual_seed(0)

    def burst(self) -> tuple[RobotState, Tensor]:
        """Start states, and targets (BURST, N, J) rad."""
        clip = torch.zeros(self.num_envs, dtype=torch.long)
        longest = float(self.library.durations[0]) - (BURST + 2) * self.dt
        start = longest * torch.rand(self.num_envs, generator=self.generator)
        ahead = start + self.dt * torch.arange(1, BURST + 1).unsqueeze(1)
        targets = self.library.frames(clip.expand_as(ahead), ahead).joint_pos
        return self.library.frames(clip, start), targets + NOISE * torch.randn(targets.shape, generator=self.generator)


def bare_burst(robot: Robot, walk: Walk, threads: int) -> Burst:
    """Nothing but mj_step on a thread pool."""
    model = build_spec(robot).compile()
    worlds = [mujoco.MjData(model) for _ in range(walk.num_envs)]
    pool = ThreadPoolExecutor(threads)

    def step(first: int, targets: np.ndarray) -> None:
        for world in range(first, len(worlds), threads):
            worlds[world].ctrl[:] = targets[world]
            mujoco.mj_step(model, worlds[world], robot.substeps)

    def burst() -> float:
        state, targets = walk.burst()
        qpos = state_qpos(state)
        spin_b = R.rotate_inverse(state.root_quat_w, state.root_ang_vel_w)
        qvel = torch.cat([state.root_lin_vel_w, spin_b, state.joint_vel], dim=1).double().numpy()
        for data, pos, vel in zip(worlds, qpos, qvel, strict=True):
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = pos, vel
        controls = targets.double().numpy()
        begun = time.perf_counter()
        for control in controls:
            for _ in pool.map(step, range(threads), [control] * threads):
                pass
        return time.perf_counter() - begun

    return burst


def simulator_burst(simulator: MujocoSimulator, walk: Walk) -> Burst:
    """The backend: physics, and the state as tensors."""
    everyone = torch.ones(walk.num_envs, dtype=torch.bool)

    def burst() -> float:
        start, targets = walk.burst()
        simulator.write(everyone, start)
        begun = time.perf_counter()
        for target in targets:
            simulator.step(target)
        return time.perf_counter() - begun

    return burst


def environment_burst(env: HumanoidEnv) -> Burst:
    """The whole environment on the tracking task: physics, reference, rewards, terminations, observations, resets."""
    obs = env.reset()
    generator = torch.Generator().manual_seed(0)

    def burst() -> float:
        nonlocal obs
        spent = 0.0
        for noise in NOISE * torch.randn(BURST, env.num_envs, env.num_actions, generator=generator):
            action = obs["reference_joint_pos"] - env.default_joint_pos + noise
            begun = time.perf_counter()
            obs = env.step(action).obs
            spent += time.perf_counter() - begun
        return spent

    return burst
