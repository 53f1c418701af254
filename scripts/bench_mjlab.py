"""Compare our tracker with mjlab's on a clip of the G1: time to the first update, env steps per second, success after equal time.

    python scripts/bench_mjlab.py g1_humanoid_walk.npy --seconds 200 --peer-path /tmp/mjlab_site --output results/peer

They train one after the other in separate processes. mjlab needs other versions of MuJoCo than we do, so `--peer-path` comes first
on its PYTHONPATH. Nothing is downloaded. docs/results/g1.md defines success.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import click

TASK = "Mjlab-Tracking-Flat-Unitree-G1"
MAX_MEAN_DISTANCE = 0.5
"""An episode fails by our rule when the mean distance of the bodies from the reference exceeds this, m."""
PROTEGE = (sys.executable, "-m", "protege.core.cli.umbrella")
"""The command `protege`, also where packages are installed without scripts."""
ROW = "{:<28}{:>22}{:>22}"


@click.command()
@click.argument("clip")
@click.option("--seconds", default=200.0, show_default=True, help="training time of each")
@click.option("--num-envs", default=4096, show_default=True, help="envs of each")
@click.option("--episodes", default=1024, show_default=True, help="episodes of each evaluation")
@click.option("--device", default="cuda", show_default=True, help="cuda or cpu")
@click.option(
    "--preset", default="full_body_tracker/transformer_flat_terrain", show_default=True, help="preset of our training"
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="override of our training (repeatable)"
)
@click.option("--chunk", default=10, show_default=True, help="iterations of mjlab between checks of the time")
@click.option("--peer-path", default="", help="folders of mjlab and its packages, separated as in PYTHONPATH")
@click.option("--only", type=click.Choice(["ours", "mjlab"]), help="train only this one")
@click.option("--output", default="results/peer", show_default=True, type=click.Path(path_type=Path), help="folder")
@click.option("--as-peer", is_flag=True, hidden=True, help="run mjlab in this process; CLIP is its motion file")
def main(
    clip: str, only: str | None, output: Path, peer_path: str, as_peer: bool, overrides: tuple[str, ...], **options: Any
) -> None:
    """Train both on CLIP and compare them; results are also written to OUTPUT/ours.json and OUTPUT/mjlab.json."""
    output.mkdir(parents=True, exist_ok=True)
    if as_peer:
        save(output / "mjlab.json", train_mjlab(clip, output, **options))
        return
    if only != "mjlab":
        save(output / "ours.json", train_ours(clip, output, overrides, **options))
    if only != "ours":
        motion = output.resolve() / "motion.npz"
        run(*PROTEGE, "sim", "motions", "export", clip, "--format", "mjlab", "--output", str(motion))
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        path = os.pathsep.join(filter(None, (peer_path, os.environ.get("PYTHONPATH", ""))))
        peer = [sys.executable, __file__, str(motion), "--as-peer", f"--output={output}", *arguments]
        run(*peer, PYTHONPATH=path, PEER_BEGAN=str(time.time()))
    found = {
        file.stem: json.loads(file.read_text())
        for name in ("ours", "mjlab")
        if (file := output / f"{name}.json").is_file()
    }
    click.echo(ROW.format("", *found, *[""] * (2 - len(found))))
    for name in dict.fromkeys(key for result in found.values() for key in result):
        cells = [f"{x:,.3f}" if isinstance(x, float) else str(x) for x in (r.get(name, "") for r in found.values())]
        click.echo(ROW.format(name, *cells, *[""] * (2 - len(cells))).rstrip())


def run(*command: str, **environment: str) -> None:
    """Run a command, and exit with its exit code if it fails."""
    done = subprocess.run(command, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def save(file: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON."""
    file.write_text(json.dumps(result, indent=2) + "\n")


# Ours ---------------------------------------------------------------------------------------------------------------------


def train_ours(
    clip: str,
    output: Path,
    overrides: tuple[str, ...],
    seconds: float,
    num_envs: int,
    episodes: int,
    device: str,
    preset: str,
    **_: Any,
) -> dict[str, Any]:
    """Train and evaluate our tracker with the commands of a user."""
    folder = output / "ours"
    name = [f"--results-dir={output}", f"--experiment-name={folder.name}", "--no-resume", f"--num-envs={num_envs}"]
    what = ["--robot=g1", f"--motion-file={clip}", "--simulator=mjwarp", f"--device={device}", f"--max-time={seconds}"]
    rows, begun, first = folder / "metrics.jsonl", time.time(), None
    rows.unlink(missing_ok=True)
    with subprocess.Popen([*PROTEGE, "core", "train", preset, *name, *what, *overrides]) as training:
        while training.poll() is None:
            if first is None and rows.is_file() and rows.stat().st_size:
                first = time.time() - begun
            time.sleep(0.05)
    if training.returncode:
        raise SystemExit(training.returncode)
    curve = [(row["seconds"], row["samples"]) for row in map(json.loads, rows.read_text().splitlines())]
    what = [f"--num-envs={episodes}", f"--num-episodes={episodes}", "--simulator=mjwarp", f"--device={device}"]
    run(*PROTEGE, "distill", "evaluate", f"--checkpoint={folder}", "--task=track", *what)
    [(_, played)] = json.loads((folder / "evaluation" / "evaluation.json").read_text())["tasks"].items()
    return {**speed(first, curve), "success, ours": played["success"], "body error m": played["error"]}


def speed(first: float | None, curve: list[tuple[float, int]]) -> dict[str, Any]:
    """Speed of a training from seconds and env steps after each iteration; the rate is that of the second half of the time."""
    end, samples = curve[-1]
    half = next(((t, n) for t, n in reversed(curve) if t <= end / 2), (0.0, 0))
    rate = (samples - half[1]) / (end - half[0])
    return {"first update s": first, "training s": end, "env steps": samples, "env steps/s": rate}


# mjlab --------------------------------------------------------------------------------------------------------------------


def train_mjlab(
    motion: str, output: Path, seconds: float, num_envs: int, episodes: int, device: str, chunk: int, **_: Any
) -> dict[str, Any]:
    """Train mjlab's task unchanged, and evaluate it without disturbances by its own failure rule and by ours."""
    begun = float(os.environ.get("PEER_BEGAN", time.time()))
    replace_missing_modules()
    import mjlab.tasks  # noqa: F401 # registers the tasks
    import torch
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.rl import RslRlVecEnvWrapper
    from mjlab.tasks.registry import load_env_cfg, load_rl_cfg, load_runner_cls
    from mjlab.utils.torch import configure_torch_backends

    configure_torch_backends()
    agent, where = load_rl_cfg(TASK), device if device == "cpu" else "cuda:0"
    agent.logger, agent.upload_model = "tensorboard", False

    def make(envs: int, change: Callable[[Any], None] = lambda config: None) -> Any:
        config = load_env_cfg(TASK)
        config.scene.num_envs, config.commands["motion"].motion_file = envs, motion
        change(config)
        return RslRlVecEnvWrapper(ManagerBasedRlEnv(cfg=config, device=where), clip_actions=agent.clip_actions)

    runner = load_runner_cls(TASK)(make(num_envs), asdict(agent), str(output / "mjlab"), where, registry_name=None)
    runner.save = lambda *_, **__: None  # it is called at the end of each `learn`, of which users make only one
    start, iterations, curve, first = time.time(), 0, [], None
    while first is None or curve[-1][0] < seconds:
        count = 1 if first is None else chunk
        runner.learn(num_learning_iterations=count, init_at_random_ep_len=first is None)
        if where != "cpu":
            torch.cuda.synchronize()
        iterations += count
        curve.append((time.time() - start, iterations * num_envs * agent.num_steps_per_env))
        first = first or time.time() - begun
    policy = runner.get_inference_policy(device=where)
    result = speed(first, curve)
    for rule, change in (("mjlab", without_disturbances), ("ours", without_terminations)):
        env = make(episodes, change)
        result |= play(torch, env, policy, rule)
        env.close()
    return result


def without_disturbances(config: Any) -> None:
    """Start exactly at the clip's first frame, without noise, pushes or randomisation."""
    command = config.commands["motion"]
    command.sampling_mode, command.joint_position_range = "start", (0.0, 0.0)
    command.pose_range, command.velocity_range = {}, {}
    config.observations["actor"].enable_corruption = False
    config.events, config.episode_length_s = {}, 1e6


def without_terminations(config: Any) -> None:
    """The same without terminations. A robot on the ground has more contacts than one that walks, so buffers are larger."""
    without_disturbances(config)
    config.sim.nconmax, config.sim.njmax = 3 * config.sim.nconmax, 3 * config.sim.njmax
    config.terminations = {"time_out": config.terminations["time_out"]}


def play(torch: ModuleType, env: Any, policy: Callable[[Any], Any], rule: str) -> dict[str, float]:
    """Success over the whole clip, and the mean distance of all bodies from the reference until failure, m."""
    inner, obs = env.unwrapped, env.get_observations()
    command, failed = (
        inner.command_manager.get_term("motion"),
        torch.zeros(env.num_envs, dtype=torch.bool, device=inner.device),
    )
    total, count = (torch.zeros(env.num_envs, device=inner.device) for _ in range(2))
    with torch.inference_mode():
        for _ in range(command.motion.time_step_total - 1):
            target = command.motion._body_pos_w[command.time_steps] + inner.scene.env_origins[:, None]
            obs, *_ = env.step(policy(obs))
            error = (command.robot.data.body_link_pos_w - target).norm(dim=-1).mean(dim=-1)
            failed |= inner.termination_manager.terminated if rule == "mjlab" else error > MAX_MEAN_DISTANCE
            total, count = total + torch.where(failed, 0.0, error), count + ~failed
    found = {f"success, {rule}": 1.0 - failed.float().mean().item()}
    return found if rule == "mjlab" else found | {"body error m": (total.sum() / count.sum()).item()}


def replace_missing_modules() -> None:
    """Add empty modules for videos and reports that mjlab imports and a benchmark does not use, if they are not installed."""
    unused = {"wandb": "run", "mediapy": "set_ffmpeg", "imageio_ffmpeg": "get_ffmpeg_exe"}
    for name, used in unused.items():
        if find_spec(name) is None:
            sys.modules[name] = ModuleType(name)
            setattr(sys.modules[name], used, (lambda *_: None) if used != "run" else None)


if __name__ == "__main__":
    main()
