"""Load a policy and play it: `python examples/load_policy.py [CHECKPOINT] [TASK]`.

CHECKPOINT is a run folder, a .ckpt file or a zoo entry. The env is that of the policy's training.
"""

import sys

import torch

from protege.core.runs.evaluation import evaluation_env, run_episodes, summarize
from protege.core.runs.load_policy import load_policy
from protege.core.tasks import tasks


def main(checkpoint: str = "zoo:student", task: str = "path", num_envs: int = 8) -> None:
    loaded = load_policy(checkpoint)
    policy = loaded.policy
    print(f"{loaded.kind} of {loaded.robot}, {policy.num_parameters('actor'):,} parameters act")

    env = evaluation_env(loaded, task, num_envs=num_envs, seed=0)
    obs = env.reset()
    for name, value in sorted(obs.items()):
        print(f"  {name}: {tuple(value.shape)}")

    with torch.inference_mode():  # one step by hand: the mean action, rad about the default pose
        mean, deviation = policy.distribution(obs)
        step = env.step(mean)
    print(f"action {tuple(mean.shape)}, deviation {deviation.mean():.3f} rad, reward {step.reward.mean():.2f}")

    episodes = run_episodes(env, lambda obs: policy.distribution(obs)[0], num_envs)  # whole episodes
    env.close()
    definition = tasks()[task]
    summary = summarize(episodes, f"{definition.metric}/mean")
    print(
        f"{task}: success {summary.success:.0%} of {summary.episodes} episodes, {summary.error:.3f} {definition.unit}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
