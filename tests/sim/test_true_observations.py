"""Teachers label the true state, whatever the sensors measure."""

import pytest
import torch

from protege.core import observations
from protege.core.runs.config import RunConfig
from protege.sim.env_config import BiasParams, EnvConfig, NoiseParams, RandomizationParams
from protege.sim.plugin import plugin

N = 6
LARGE = RandomizationParams(
    noise=NoiseParams(joint_pos=0.05, root_lin_vel=0.3), bias=BiasParams(joint_pos=0.05, root_height=(0.02, 0.03))
)
TINY = RandomizationParams(noise=NoiseParams(joint_pos=1e-9))


def make(robot, randomization: RandomizationParams, sensors: str = "full_state"):
    clips = [f"data/motions/{robot.name}_humanoid_{name}.npy" for name in ("walk", "run")]
    run = RunConfig(robot=robot.name, motion_file=clips, seed=3)
    config = EnvConfig(num_envs=N, task_mix={"track": 0.5, "path": 0.5}, num_plans=N, randomization=randomization)
    return plugin.make(run, config, sensors=sensors)


def still(env):
    return torch.zeros(N, env.num_actions)


@pytest.mark.parametrize("sensors", ["full_state", "onboard"])
def test_they_are_all_that_sensors_without_errors_measure(robot, sensors):
    env = make(robot, TINY, sensors)
    obs, episodes = env.reset(), 0
    for _ in range(60):
        truth = env.true_observations()
        assert truth is not None and {"proprioception", "history", "poses", "path"} <= set(truth)
        assert all(torch.allclose(x, obs[name], atol=1e-5) for name, x in truth.items())
        step = env.step(still(env))
        obs, episodes = step.obs, episodes + step.ended.sum()
    assert episodes >= N // 2, "episodes began anew"


def test_they_are_of_the_true_state(robot):
    env = make(robot, LARGE)
    env.reset()
    before = env.true_observations()["proprioception"].clone()
    step = env.step(still(env))
    truth = env.true_observations()
    assert not step.ended.any()
    assert torch.equal(truth["proprioception"], observations.proprioception(env.state))
    assert torch.equal(truth["history"][:, 0], before)
    assert (step.obs["proprioception"] - truth["proprioception"]).abs().max() > 0.02


def test_without_sensor_errors_there_are_none(robot):
    assert make(robot, RandomizationParams()).true_observations() is None


def test_their_history_is_saved(robot):
    env, resumed = (make(robot, LARGE) for _ in range(2))
    env.reset()
    resumed.reset()
    for _ in range(3):
        env.step(still(env))
    resumed.load_state_dict(env.state_dict())
    truth, again = env.true_observations(), resumed.true_observations()
    assert all(torch.equal(x, again[name]) for name, x in truth.items())
