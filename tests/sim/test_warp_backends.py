"""The backends on Warp in the environment: as on MuJoCo, and an env that went wrong stays alone with it."""

import pytest
import torch

from protege.core.runs.config import RunConfig
from protege.sim.env_config import EnvConfig
from protege.sim.plugin import plugin

WALK = "data/motions/smpl_humanoid_walk.npy"


@pytest.mark.parametrize(("name", "backend"), [("mjwarp", "MjwarpSimulator"), ("isaaclab", "IsaaclabSimulator")])
def test_the_environment_runs_on_it_as_on_mujoco(name, backend):
    config = EnvConfig(num_envs=4, task_mix={"track": 1.0, "steering": 1.0}, num_plans=4)
    runs = [
        RunConfig(robot="smpl", simulator=x, device="cpu", motion_file=[WALK], num_threads=1) for x in (name, "mujoco")
    ]
    env, other = (plugin.make(run, config) for run in runs)
    assert type(env.simulator).__name__ == backend
    obs = env.reset()
    other.reset()
    for _ in range(5):
        action = obs["reference_joint_pos"] - env.default_joint_pos
        step, want = env.step(action), other.step(action)
        obs = step.obs
        torch.testing.assert_close(step.reward, want.reward, atol=1e-3, rtol=0.0)
        torch.testing.assert_close(obs["proprioception"], want.obs["proprioception"], atol=2e-2, rtol=0.0)
        assert torch.equal(step.failed, want.failed)
    action = obs["reference_joint_pos"] - env.default_joint_pos
    action[2] = torch.nan
    step = env.step(action)
    assert step.invalid.tolist() == [False, False, True, False] == step.failed.tolist()
    assert all(x.isfinite().all() for x in step.obs.values())
    assert env.invalid_count == 1
    env.close()
    other.close()
