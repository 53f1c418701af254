"""Speed of the environment compared with its physics alone: same model, substeps, threads, and walking states.

With MuJoCo that is bare `mj_step` on as many threads; with MuJoCo Warp it is `Simulator.step` on the same device. Rates are
control steps of all envs together, per second. They are measured alternately, so that a busy machine slows all alike, and with
as many torch threads as training has. Simulators start each burst on random frames of the walking clip and follow it with
noise on the targets; setting the states and drawing the noise is not timed. A GPU is synchronised before and after.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import MotionLibrary, load_clips
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.runs.config import RunConfig, compose
from protege.core.threads import available_cores

from .engine import mujoco
from .env import HumanoidEnv
from .env_config import EnvConfig
from .robots import default_robot, get_robot, training_settings
from .robots.mjcf import build_spec, coordinates
from .simulators.simulator import Simulator, make_simulator

BURST_SECONDS = 0.5  # s; short enough that the noise does not make a walker fall
TARGET_NOISE = 0.05  # rad, about the exploration noise of a policy
WARM_UP_BURSTS = 2  # bursts that are not timed: they touch memory, start threads and capture graphs

Burst = Callable[[], float]
"""Runs half a second of control steps in all envs; returns the seconds that they took."""


@dataclass(frozen=True)
class Rates:
    """Control steps per second of all envs together.

    Attributes:
        threads: of physics on a CPU, and of torch.
        bare_mujoco: rate of MuJoCo alone; None for other simulators.
        against: name of another simulator that was measured alternately with this one, or None; its rates follow.
    """

    num_envs: int
    threads: int
    backend: str
    device: str
    bare_mujoco: float | None
    simulator: float
    environment: float
    against: str | None = None
    against_simulator: float | None = None
    against_environment: float | None = None

    @property
    def physics(self) -> float:
        """The rate that the environment's is compared with: that of bare MuJoCo, or of the simulator."""
        return self.bare_mujoco or self.simulator

    @property
    def ratio(self) -> float:
        """Rate of the environment divided by that of the physics."""
        return self.environment / self.physics

    def to_dict(self) -> dict[str, float | str | None]:
        return {**asdict(self), "ratio": self.ratio}


def measure(
    num_envs: int,
    seconds: float,
    threads: int = 0,
    robot_name: str | None = None,
    backend: str = "mujoco",
    device: str = "auto",
    tasks: Sequence[str] = ("track",),
    against: str | None = None,
    motion_file: Sequence[str] = (),
) -> Rates:
    """Measure each rate for `seconds`.

    Args:
        threads: number of threads; 0 for one per core.
        backend: a simulator's name.
        device: as `run.device` of a training.
        tasks: tasks of the envs, in equal parts.
        against: another simulator, measured alternately on the same device.
        motion_file: clips whose frames are played; by default the robot's walk.

    Raises:
        UserError: there is no such robot, clip or simulator.
    """
    threads = threads or available_cores()
    device = RunConfig(simulator=backend, device=device).torch_device()
    robot = get_robot(robot_name or default_robot())
    walk = Walk(robot, num_envs, motion_file or [f"{robot.name}_humanoid_walk.npy"])
    parts = {"run": RunConfig, "env": EnvConfig}
    own = compose(parts, None, [f"run.robot={robot_name or default_robot()}"], robot_settings=training_settings).env
    config = replace(own, num_envs=num_envs, task_mix=dict.fromkeys(tasks, 1.0))
    bursts: dict[str, Burst] = {"bare_mujoco": bare_burst(robot, walk, threads)} if backend == "mujoco" else {}
    with ExitStack() as measured, torch_threads(threads):
        for prefix, name in {"": backend, "against_": against}.items():
            if name is None:
                continue
            simulator, physics = (make_simulator(name, robot, num_envs, device, threads) for _ in range(2))
            env = HumanoidEnv(physics, walk.clips, config, seed=0)
            measured.callback(simulator.close)
            measured.callback(env.close)
            bursts[f"{prefix}simulator"] = simulator_burst(simulator, walk)
            bursts[f"{prefix}environment"] = environment_burst(env)
        rates = _interleaved(bursts, walk.steps * num_envs, seconds)
    mine = rates.get("bare_mujoco"), rates["simulator"], rates["environment"]
    others = against, rates.get("against_simulator"), rates.get("against_environment")
    return Rates(num_envs, threads, backend, device, *mine, *others)


def _interleaved(bursts: dict[str, Burst], steps: int, seconds: float) -> dict[str, float]:
    """The rate of each burst, control steps of all envs per second. steps: control steps of all envs in one burst."""
    for _ in range(WARM_UP_BURSTS):
        for burst in bursts.values():
            burst()
    spent, count = dict.fromkeys(bursts, 0.0), 0
    while min(spent.values()) < seconds:
        count += steps
        for name, burst in bursts.items():
            spent[name] += burst()
    return {name: count / time for name, time in spent.items()}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def now(device: torch.device) -> float:
    """Time in s, after the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Walk:
    """Random frames of a clip, mostly of a walk, and targets that follow it with noise."""

    def __init__(self, robot: Robot, num_envs: int, motion_file: Sequence[str]) -> None:
        self.clips, self.num_envs, self.dt = load_clips(motion_file, robot), num_envs, robot.control_dt
        self.steps = round(BURST_SECONDS / robot.control_dt)
        self.library = MotionLibrary(self.clips, robot, "cpu")
        self.generator = torch.Generator().manual_seed(0)

    def burst(self) -> tuple[RobotState, Tensor]:
        """Start states, and targets (T, N, J) rad."""
        clip = torch.zeros(self.num_envs, dtype=torch.long)
        longest = max(0.0, float(self.library.durations[0]) - (self.steps + 2) * self.dt)
        start = longest * torch.rand(self.num_envs, generator=self.generator)
        ahead = start + self.dt * torch.arange(1, self.steps + 1).unsqueeze(1)
        targets = self.library.frames(clip.expand_as(ahead), ahead).joint_pos
        return self.library.frames(clip, start), targets + TARGET_NOISE * torch.randn(
            targets.shape, generator=self.generator
        )


def bare_burst(robot: Robot, walk: Walk, threads: int) -> Burst:
    """MuJoCo's mj_step alone, on a thread pool."""
    model = build_spec(robot).compile()
    envs = [mujoco.MjData(model) for _ in range(walk.num_envs)]
    pool = ThreadPoolExecutor(threads)

    def step(first: int, targets: np.ndarray) -> None:
        for env in range(first, len(envs), threads):
            envs[env].ctrl[:] = targets[env]
            mujoco.mj_step(model, envs[env], robot.substeps)

    def burst() -> float:
        state, targets = walk.burst()
        qpos, qvel = (x.double().numpy() for x in coordinates(state))
        for data, pos, vel in zip(envs, qpos, qvel, strict=True):
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = pos, vel
        controls = targets.double().numpy()
        begun = time.perf_counter()
        for control in controls:
            for _ in pool.map(step, range(threads), [control] * threads):
                pass
        return time.perf_counter() - begun

    return burst


def simulator_burst(simulator: Simulator, walk: Walk) -> Burst:
    """The simulator alone: physics, and the state as tensors."""
    device = simulator.device
    all_envs = torch.ones(walk.num_envs, dtype=torch.bool, device=device)

    def burst() -> float:
        start, targets = walk.burst()
        simulator.write(all_envs, RobotState(**{name: x.to(device) for name, x in vars(start).items()}))
        targets = targets.to(device)
        begun = now(device)
        for target in targets:
            simulator.step(target)
        return now(device) - begun

    return burst


def environment_burst(env: HumanoidEnv) -> Burst:
    """The whole environment, which follows the reference with noise: physics, rewards, terminations, observations, resets."""
    obs = env.reset()
    generator = torch.Generator(env.device).manual_seed(0)
    shape = (round(BURST_SECONDS / env.robot.control_dt), env.num_envs, env.num_actions)

    def burst() -> float:
        nonlocal obs
        noise = TARGET_NOISE * torch.randn(shape, generator=generator, device=env.device) - env.default_joint_pos
        begun = now(env.device)
        for offset in noise:
            obs = env.step((obs["reference_joint_pos"] + offset) / env.action_scale).obs
        return now(env.device) - begun

    return burst
