"""Number of operations in a step of the env: on a GPU each is a kernel, and their number determines the time of a step."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from protege.core.motions import load_clips
from protege.core.robots.robot import Robot
from protege.core.runs.config import RunConfig, compose
from protege.core.tasks import modalities
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.observing import command_shapes, observe_commands
from protege.sim.plugin import plugin
from protege.sim.simulators.simulator import make_simulator

NO_KERNEL = {"empty", "empty_like", "new_empty", "detach", "lift_fresh", "alias"}
FOUR = {"track": 0.7, "path": 0.12, "goal": 0.1, "steering": 0.08}


class Kernels(TorchDispatchMode):
    """Counts the operations that would launch a kernel; those that return views launch none."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.names = set[str]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        views = any(x.alias_info is not None and not x.alias_info.is_write for x in func._schema.returns)
        self.names.add(func.__name__.split(".")[0])
        self.count += not views and func.__name__.split(".")[0] not in NO_KERNEL
        return func(*args, **(kwargs or {}))


def make_env(robot: Robot, task_mix: dict[str, float], num_envs: int = 40, sensors: str = "full_state") -> HumanoidEnv:
    simulator = make_simulator("mujoco", robot, num_envs, device="cpu", num_threads=1)
    clips = load_clips([f"{robot.name}_humanoid_walk.npy"], robot)
    parts = {"run": RunConfig, "env": EnvConfig}
    config = compose(parts, None, [f"run.robot={robot.name}"], robot_settings=plugin.robot_settings).env
    return HumanoidEnv(simulator, clips, replace(config, task_mix=task_mix, num_plans=4), seed=0, sensors=sensors)


@pytest.mark.parametrize(("mix", "most"), [({"track": 1.0}, 280), (FOUR, 840)])
def test_a_step_is_few_kernels(robot, mix, most, monkeypatch):
    """After the physics, without the simulator's own part in resets."""
    env = make_env(robot, mix)
    env.reset()
    monkeypatch.setattr(env.simulator, "write", lambda mask, target: None)
    with torch.no_grad(), Kernels() as kernels:
        env._assess()
    assert 0.9 * most < kernels.count <= most
    env.close()


def test_onboard_sensors_are_few_more_and_are_made_on_the_device(robot, monkeypatch):
    """A number that comes from the host would break the recording of a CUDA graph."""
    counts = {}
    for sensors in ("full_state", "onboard"):
        env = make_env(robot, FOUR, sensors=sensors)
        env.reset()
        monkeypatch.setattr(env.simulator, "write", lambda mask, target: None)
        with torch.no_grad(), Kernels() as kernels:
            env._assess()
        counts[sensors] = kernels.count
        assert not kernels.names & {"lift_fresh", "_local_scalar_dense", "nonzero"}
        env.close()
    assert 0 < counts["onboard"] - counts["full_state"] <= 165


def test_commands_are_observed_together_as_each_alone(robot):
    env = make_env(robot, FOUR)
    env.reset()
    shapes, commands = command_shapes(env.config), [task.command for task in env.tasks.values()]
    together = observe_commands(commands, env.state, shapes)
    assert set(together) == {f"{name}{end}" for name in modalities() for end in ("", "_mask")}
    for command, part in zip(commands, env.task_slices.values(), strict=True):
        for name, value in observe_commands([command], env.state[part], shapes).items():
            torch.testing.assert_close(together[name][part], value, msg=name)
    assert all(together[name].abs().max() > 0.1 for name in modalities())
    env.close()
