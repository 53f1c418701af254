"""Our tasks as Isaac Lab's users make and train them."""

from importlib.metadata import entry_points
from pathlib import Path

import gymnasium
import pytest
import torch
from isaaclab.envs import DirectRLEnv
from isaaclab.sim import SimulationContext
from isaaclab_rl.entrypoints import run_train_cli

import protege.sim.gym as registration
from protege.core.errors import UserError
from protege.sim.gym import env_cfg as configs
from protege.sim.gym.env import ProtegeEnv

N, J = 3, 69
IDS = [f"Protege-{task}-{robot}-v0" for robot in ("G1", "SMPL") for task in ("Track", "Path", "Goal", "Steering")]


def made(task: str, robot: str = "smpl", **fields) -> tuple[gymnasium.Env, ProtegeEnv]:
    """The environment as gymnasium wraps it, and bare."""
    cfg = getattr(configs, f"{task.capitalize()}{robot.capitalize()}EnvCfg")()
    cfg.scene.num_envs, cfg.sim.device = N, "cpu"
    cfg.overrides = ["env.num_plans=4", "env.history_steps=1"]
    for name, value in fields.items():
        setattr(cfg, name, value)
    env = gymnasium.make(registration.IDS[task, robot], cfg=cfg)
    bare = env.unwrapped
    assert isinstance(bare, ProtegeEnv)
    return env, bare


def test_isaac_labs_command_finds_the_tasks():
    (found,) = [point for point in entry_points(group="isaaclab.tasks") if point.name == "protege"]
    assert found.load() is registration
    assert list(registration.IDS.values()) == IDS
    for name in IDS:
        kwargs = gymnasium.spec(name).kwargs
        assert {"env_cfg_entry_point", "rsl_rl_cfg_entry_point"} <= set(kwargs)


@pytest.mark.parametrize("robot", ["smpl", "g1"])
@pytest.mark.parametrize("task", ["track", "path", "goal", "steering"])
def test_observations_are_those_of_the_envs(task, robot):
    env, bare = made(task, robot)
    assert isinstance(bare, DirectRLEnv)
    steps, joints = {"smpl": (300, 69), "g1": (500, 29)}[robot]  # ten seconds at 30 and 50 Hz
    assert (bare.num_envs, bare.max_episode_length, env.action_space.shape) == (N, steps, (N, joints))
    obs, _ = env.reset()
    assert env.observation_space.shape == obs["policy"].shape
    assert bare.state_space is not None and bare.state_space.shape == obs["critic"].shape
    ours = bare.envs._restart(torch.zeros(N, dtype=torch.bool), bare.envs.sensed.past, None)
    width = ours["proprioception"].shape[1]
    assert torch.equal(obs["policy"][:, :width], ours["proprioception"])
    last = "reference_joint_pos" if task == "track" else task
    assert torch.equal(obs["policy"][:, -ours[last].flatten(1).shape[1] :], ours[last].flatten(1))
    assert torch.equal(obs["critic"][:, -joints:], ours["reference_joint_pos"])
    env.close()
    env.close()
    assert SimulationContext.instance() is None


@pytest.mark.parametrize(("robot", "deviation"), [("Smpl", 0.055), ("G1", 0.368)])
def test_rsl_rl_explores_as_our_policies_do(robot, deviation):
    """e to the power of the joints' `log_std`, -2.9 and -2, in units of their action scales."""
    cfg = getattr(configs, f"Track{robot}PPORunnerCfg")()
    assert cfg.actor.distribution_cfg.init_std == deviation and cfg.experiment_name == f"protege_{robot.lower()}_track"


def test_a_step_ends_episodes_and_begins_others():
    env, bare = made("track", episode_length_s=0.1, compute_final_obs=True)
    obs, extras = env.reset(seed=3)
    assert extras == {} and bare.max_episode_length == 3
    default = bare.envs.default_joint_pos
    for step in range(3):
        action = obs["policy"][:, -J:] - default  # plays the reference
        if step == 2:
            action[0] = torch.nan  # physics goes wrong in one env as time runs out in all
        obs, reward, terminated, truncated, extras = env.step(action)
        assert reward.shape == (N,) and obs["policy"].isfinite().all()
    assert terminated.tolist() == [True, False, False] and truncated.tolist() == [False, True, True]
    assert extras["log"]["Episode/failed"] == pytest.approx(1 / 3) and extras["log"]["Episode/length"] == 3.0
    assert extras["final_obs"]["policy"].shape == obs["policy"].shape
    assert not torch.equal(extras["final_obs"]["policy"][1], obs["policy"][1])
    assert bare.episode_length_buf.tolist() == [0, 0, 0]
    env.step(obs["policy"][:, -J:] - default)
    assert bare.episode_length_buf.tolist() == [1, 1, 1] and "log" not in bare.extras
    env.close()


def test_a_seed_repeats_an_episode():
    env, _ = made("steering")
    first = [env.reset(seed=5)[0]["policy"], env.step(torch.zeros(N, J))[1]]
    again = [env.reset(seed=5)[0]["policy"], env.step(torch.zeros(N, J))[1]]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    env.close()


def test_our_config_is_the_users_and_checked():
    env, bare = made("path", overrides=["env.path_follower_params.speed=[0.25, 0.5]", "env.num_plans=4"])
    assert bare.envs.config.path_follower_params.speed == (0.25, 0.5)
    assert bare.envs.task_names == ["path"]
    env.close()
    with pytest.raises(UserError, match=r"unknown key env\.path_follower_params\.sped\. Did you mean"):
        made("path", overrides=["env.path_follower_params.sped=1"])


def test_isaac_labs_train_command_trains_it_with_rsl_rl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    words = ["--rl_library", "rsl_rl", "--task", "Protege-Goal-SMPL-v0", "--num_envs", "2", "--device", "cpu"]
    words += ["--max_iterations", "1", "agent.num_steps_per_env=4", "agent.actor.hidden_dims=[16]"]
    words += ["agent.device=cpu", 'env.overrides=["env.num_plans=4"]']
    assert run_train_cli(words) == 0
    (run,) = (tmp_path / "logs" / "rsl_rl" / "protege_smpl_goal").iterdir()
    saved = torch.load(run / "model_0.pt", weights_only=True)
    weight = next(x for name, x in saved["actor_state_dict"].items() if name.endswith("mlp.0.weight"))
    assert weight.shape == (16, 223)
    assert SimulationContext.instance() is None
