"""Measures speed as ratios within one run: `make bench`. There are no limits to pass; docs/results records measured values.

1. Environment: control steps per second of the whole env against bare MuJoCo with the same model, substeps and threads.
2. Sizes: the actors' parameters, teacher against student, at the published sizes.
3. Runtime: one step of the published student in ONNX Runtime on one thread, inside the closed loop with MuJoCo; ONNX
   against torch on the states that the loop recorded.
4. Inference: one call of zoo:student in each precision, see bench_inference.py, which also compares ONNX with torch on a GPU.
"""

import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from bench_inference import compared, cpu_latencies, plain_latency, shown, weights

from protege.core.env import Env, env_plugin
from protege.core.learning.policy import ActorCritic
from protege.core.runs.checkpoint import Checkpoint, save
from protege.core.runs.config import RunConfig, compose
from protege.core.runs.experiments import EXPERIMENTS as CORE
from protege.core.runs.load_policy import make_actor_critic
from protege.core.runs.training import Experiment
from protege.deploy.commands.path import PathCommand
from protege.deploy.export.check import check
from protege.deploy.export.export import export
from protege.deploy.loop.closed_loop import run_closed_loop
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy
from protege.distill.experiment import EXPERIMENTS as DISTILL
from protege.sim.bench import measure
from protege.sim.robots import default_robot
from protege.teachers.experiments import EXPERIMENTS as TEACHERS

PRESETS: dict[str, tuple[str, Experiment]] = {
    "tracker": ("full_body_tracker/transformer_flat_terrain", CORE["full_body_tracker"]),
    "path_follower": ("path_follower", TEACHERS["path_follower"]),
    "student": ("distillation/unified_lightweight", DISTILL["distillation"]),
}
STEPS = 1000


@click.command()
@click.option("--num-envs", default=256, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="measuring time of each of the three rates")
@click.option("--robot", help="name or robot.yaml; default: the default robot")
@click.option("--output", type=click.Path(path_type=Path), help="write the numbers as JSON")
def main(num_envs: int, seconds: float, robot: str | None, output: Path | None) -> None:
    """Measure the env against bare MuJoCo, the sizes of policies, and the runtime."""
    click.echo(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    robot = robot or default_robot()
    rates = measure(num_envs, seconds, robot_name=robot)
    click.echo(
        f"environment  {rates.environment:,.0f} control steps/s, backend {rates.simulator:,.0f}, "
        f"bare MuJoCo {rates.bare_mujoco:,.0f}: {rates.ratio:.0%} ({rates.num_envs} envs, {rates.threads} threads)"
    )
    policies = {name: untrained(name, robot) for name in PRESETS}
    sizes = {name: policy.num_parameters("actor") for name, (policy, _) in policies.items()}
    reduction = 1.0 - sizes["student"] / sizes["path_follower"]
    listed = ", ".join(f"{name} {count:,}" for name, count in sizes.items())
    click.echo(f"sizes        {listed}: the student has {reduction:.1%} fewer parameters than a teacher")
    runtime = closed_loop(policies["student"][1])
    times = ", ".join(f"{name} {value:.2f}" for name, value in runtime["loop"]["stages_ms"]["infer"].items())
    click.echo(f"runtime      {times} ms a step, one thread, {runtime['loop']['steps']} steps")
    precisions = (
        cpu_latencies("zoo:student") if robot == default_robot() else {}
    )  # zoo:student is a policy of the default robot
    for name, latency in precisions.items():
        click.echo(f"inference    zoo:student in {name}: {shown(latency)}, one thread, back to back")
    if precisions:
        precisions["plain"] = plain_latency(weights("zoo:student"))
        ratio = compared(precisions["fp32"], precisions["plain"])
        click.echo(f"             an MLP of as many weights: {shown(precisions['plain'])}; {ratio}")
    click.echo(f"ONNX         differs from torch by at most {runtime['onnx_difference']:.1e} rad on those states")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        data = {"environment": rates.to_dict(), "parameters": sizes, "reduction": reduction, "runtime": runtime}
        data["inference_ms"] = precisions
        output.write_text(json.dumps(data, indent=2))


def untrained(name: str, robot: str) -> tuple[ActorCritic, Checkpoint]:
    """A policy of a published size with random weights, and its checkpoint."""
    preset, experiment = PRESETS[name]
    plugin = env_plugin()
    parts = {"run": RunConfig, "env": plugin.config_class, **experiment.parts}
    config = compose(
        parts, preset, [f"run.robot={robot}", "run.device=cpu", "env.num_plans=1"], robot_settings=plugin.robot_settings
    )
    env: Env = plugin.make(config.run, replace(config.env, num_envs=len(config.env.task_mix)))
    torch.manual_seed(0)
    policy = make_actor_critic(env, config.model)
    shapes = {key: list(shape) for key, shape in env.obs_shapes.items()}
    names = list(env.robot.joint_names)
    env.close()
    return policy, Checkpoint(experiment.kind, config.to_dict(), env.robot.name, names, shapes, policy.state_dict())


def closed_loop(checkpoint: Checkpoint) -> dict[str, Any]:
    """Run the exported policy in the loop with MuJoCo, as `protege deploy run --fast`; a fall takes as much time as a walk."""
    with TemporaryDirectory() as folder:
        saved, exported, recorded = (Path(folder) / name for name in ("last.ckpt", "onnx", "states.npz"))
        save(saved, checkpoint)
        export(saved, exported)
        policy, robot = OnnxPolicy(exported), MujocoRobot(exported)
        states: list[dict[str, np.ndarray]] = []
        policy.on_inputs = states.append
        seconds = STEPS * policy.metadata.control_dt
        command = PathCommand.arc(robot.read().pose_2d, 1.0, 0.0, seconds + 5.0, policy.metadata.path_times)
        loop = ControlLoop(policy, robot, command, policy.metadata.control_dt, realtime=False)
        result = run_closed_loop(loop, seconds)
        np.savez(recorded, **{name: np.concatenate([state[name] for state in states]) for name in states[0]})
        return {"loop": result["loop"], "onnx_difference": check(exported, saved, STEPS, recorded).joint_target}


if __name__ == "__main__":
    main()
