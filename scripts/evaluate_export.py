"""Evaluate exported models over whole episodes, with batches of envs, and write their success into policy.json.

    python scripts/evaluate_export.py --checkpoint zoo:student results/fp32 results/fp16 results/int8

Each task's commands are the same for every model. The models' inputs are raw measurements and commands as on a robot,
not observations.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn.functional import pad

from protege.core import observations
from protege.core.env import Obs
from protege.core.robots import rotation as R
from protege.core.runs.evaluation import evaluation_env, rounded_up, run_episodes, summarize
from protege.core.runs.load_policy import LoadedPolicy, load_policy
from protege.core.tasks import modalities
from protege.deploy.policy import metadata
from protege.deploy.policy.metadata import ClosedLoop
from protege.deploy.policy.session import open_session
from protege.deploy.policy.tensors import REFERENCE_INPUTS
from protege.distill.tasks import EVALUATED, UNIFIED

MEASURED = ("root_pos_w", "root_quat_w", "root_lin_vel_w", "root_ang_vel_w", "joint_pos", "joint_vel")


@click.command()
@click.argument("folders", nargs=-1, required=True)
@click.option("--checkpoint", required=True, help="the checkpoint that was exported; its config defines the env")
@click.option("--task", "tasks", type=click.Choice(UNIFIED), multiple=True, help="repeatable; default: all")
@click.option("--num-episodes", default=512, show_default=True, help="episodes of each task")
@click.option("--num-envs", default=64, show_default=True)
@click.option("--simulator", default="mujoco", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(folders: tuple[str, ...], checkpoint: str, tasks: tuple[str, ...], num_episodes: int, **options: Any) -> None:
    """Measure the success of exported models in closed loop."""
    loaded = load_policy(checkpoint)
    for folder in folders:
        for task in tasks or UNIFIED:
            result = closed_loop(Path(folder), loaded, task, num_episodes, **options)
            low, high = result.success_ci
            click.echo(
                f"{folder}  {task:<9} {result.success:.1%} [{low:.1%}, {high:.1%}] of {result.episodes}"
                + (f"  {result.error_name} {result.error:.4f} {result.error_unit}" if result.error is not None else "")
            )
            write_result(Path(folder), result)


def closed_loop(folder: Path, loaded: LoadedPolicy, task: str, num_episodes: int, **options: Any) -> ClosedLoop:
    """Play whole episodes of a task with the model in a folder."""
    facts = metadata.load(folder)
    session = open_session(folder, facts, threads=1)
    options["num_envs"] = envs = min(options["num_envs"], num_episodes)
    overrides = {"mix_probability": 0.0, "num_plans": rounded_up(num_episodes, envs)}
    options = {"device": "cpu", "overrides": overrides, **options}
    env: Any = evaluation_env(loaded, task, **options)

    def act(obs: Obs) -> Tensor:
        reset = torch.zeros(env.num_envs, dtype=torch.bool)
        history = obs["onboard_history" if env.onboard else "history"]
        raw = raw_inputs(env, obs) | {"history": history, "reset": reset}
        feeds = {spec.name: raw[spec.name].numpy() for spec in facts.inputs}
        target = session.run(["joint_target"], feeds)[0]
        return (torch.from_numpy(target) - env.default_joint_pos) / env.action_scale

    try:
        rows = run_episodes(env, act, num_episodes)
    finally:
        env.close()
    definition = EVALUATED[task]
    summary = summarize(rows, definition.column)
    return ClosedLoop(
        task=task,
        simulator=options["simulator"],
        episodes=summary.episodes,
        success=summary.success,
        success_ci=list(summary.success_ci),
        error=None if isnan(summary.error) else summary.error,
        error_name=definition.metric,
        error_unit=definition.unit,
    )


def write_result(folder: Path, result: ClosedLoop) -> None:
    """Write a result into policy.json; it replaces an earlier one of the same task and simulator."""
    facts = metadata.load(folder)
    others = [x for x in facts.closed_loop if (x.task, x.simulator) != (result.task, result.simulator)]
    replace(facts, closed_loop=[*others, result]).save(folder)


def raw_inputs(env: Any, obs: Obs) -> dict[str, Tensor]:
    """Measurements and commands of all envs, (N, ...) by input name, from the env's internal state.

    Args:
        obs: observations of the same step.
    """
    commands = [dict(_commands(env, name, part.stop - part.start)) for name, part in env.task_slices.items()]
    measured = {name: getattr(env.state, name) for name in MEASURED}
    masks = {
        "pose_mask": obs["pose_mask"],
        "command_mask": torch.stack([obs[f"{x}_mask"] for x in modalities()], dim=1),
    }
    raw = measured | masks | {key: torch.cat([part[key] for part in commands]) for key in commands[0]}
    return raw | _onboard_inputs(env, raw) if env.onboard else raw


def _onboard_inputs(env: Any, raw: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inputs of policies with onboard sensors: IMU measurements, and commands in the robots' heading frames."""
    state, onboard = env.state, env.onboard
    imu_quat, imu_ang_vel = observations.imu(state, onboard.body, onboard.mount)
    found = {"imu_quat": imu_quat, "imu_ang_vel": imu_ang_vel, "last_action": onboard.last_action}
    back = R.conjugate(R.heading(state.root_quat_w))
    for name, value in raw.items():
        if name in MEASURED or not name.endswith("_w"):
            continue
        axes, turn = value.shape[-1], back.view(-1, *[1] * (value.ndim - 2), 4).expand(*value.shape[:-1], 4)
        place = state.root_pos_w.view(-1, *[1] * (value.ndim - 2), 3)[..., :axes] * torch.tensor([1.0, 1.0, 0.0])[:axes]
        if axes == 4:
            local = R.multiply(turn, value)
        else:
            offset = value if "direction" in name or "facing" in name else value - place
            local = R.rotate(turn, pad(offset, (0, 3 - axes)))[..., :axes]
        found[f"{name.removesuffix('_w')}_h"] = local
    return found


def _commands(env: Any, task: str, n: int) -> Iterator[tuple[str, Tensor]]:
    """The command inputs of one task's n envs, in the world frame; zeros for modalities that it does not command."""
    command = env.tasks[task].command
    yield from zip(("target_body_pos_w", "target_body_quat_w"), command.reference.future(), strict=True)
    yield from zip(REFERENCE_INPUTS, command.reference.next_joints(), strict=True)
    given = command.inputs()
    for name, modality in modalities().items():
        for spec in modality.inputs(env.obs_shapes[name]):
            yield spec.name, given.get(spec.name, torch.zeros(n, *spec.shape))


if __name__ == "__main__":
    main()
