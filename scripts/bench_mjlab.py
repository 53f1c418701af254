"""Our tracker beside mjlab's, on one clip of the G1: seconds to the first update, env steps a second, success after equal training.

    python scripts/bench_mjlab.py g1_humanoid_walk.npy --seconds 200 --peer-path /tmp/mjlab_site --output results/peer

Each trains in processes of its own, one after the other. mjlab needs other versions of MuJoCo than we do: `--peer-path` goes before
everything else on its PYTHONPATH. Nothing is downloaded. docs/results/g1.md says how success is judged.
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
LOST = 0.5
"""m: an episode fails by our rule when the bodies are further than this from the reference on average."""
PROTEGE = (sys.executable, "-m", "protege.core.cli.umbrella")
"""The command `protege`, which a folder of packages has no script for."""
ROW = "{:<28}{:>22}{:>22}"


@click.command()
@click.argument("clip")
@click.option("--seconds", default=200.0, show_default=True, help="of training, each")
@click.option("--num-envs", default=4096, show_default=True, help="each")
@click.option("--episodes", default=1024, show_default=True, help="of each evaluation")
@click.option("--device", default="cuda", show_default=True, help="cuda or cpu")
@click.option("--preset", default="full_body_tracker/transformer_flat_terrain", show_default=True, help="ours")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="of our training (repeatable)")
@click.option("--chunk", default=10, show_default=True, help="iterations of mjlab between two looks at the clock")
@click.option("--peer-path", default="", help="folders of mjlab and its packages, as on PYTHONPATH")
@click.option("--only", type=click.Choice(["ours", "mjlab"]), help="one of the two")
@click.option("--output", default="results/peer", show_default=True, type=click.Path(path_type=Path), help="folder")
@click.option("--as-peer", is_flag=True, hidden=True, help="be the process that runs mjlab; CLIP is its file")
def main(
    clip: str, only: str | None, output: Path, peer_path: str, as_peer: bool, overrides: tuple[str, ...], **options: Any
) -> None:
    """Train both on CLIP and compare them; results also in OUTPUT/ours.json and OUTPUT/mjlab.json."""
    output.mkdir(parents=True, exist_ok=True)
    if as_peer:
        save(output / "mjlab.json", train_mjlab(clip, output, **options))
        return
    if only != "mjlab":
        save(output / "ours.json", train_ours(clip, output, overrides, **options))
    if only != "ours":
        motion = output.resolve() / "motion.npz"
        run(*PROTEGE, "sim", "motions", "export", clip, "--format", "mjlab", "--output", str(motion))
        given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        path = os.pathsep.join(filter(None, (peer_path, os.environ.get("PYTHONPATH", ""))))
        peer = [sys.executable, __file__, str(motion), "--as-peer", f"--output={output}", *given]
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
    """Run a command to its end; its failure is ours."""
    done = subprocess.run(command, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def save(file: Path, result: dict[str, Any]) -> None:
    """As JSON."""
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
    """Train and evaluate by the commands that a user has."""
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
    """Of a training's seconds and env steps after each of its iterations: the rate is that of the second half of the time."""
    end, samples = curve[-1]
    half = next(((t, n) for t, n in reversed(curve) if t <= end / 2), (0.0, 0))
    rate = (samples - half[1]) / (end - half[0])
    return {"first update s": first, "training s": end, "env steps": samples, "env steps/s": rate}


# mjlab --------------------------------------------------------------------------------------------------------------------


def train_mjlab(
    motion: str, output: Path, seconds: float, num_envs: int, episodes: int, device: str, chunk: int, **_: Any
) -> dict[str, Any]:
    """Train mjlab's task as it comes, and evaluate it without disturbances: by its own rule, and by ours."""
    begun = float(os.environ.get("PEER_BEGAN", time.time()))
    without_pictures()
    import mjlab.tasks  # noqa: F401 # registers them
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
    runner.save = lambda *_, **__: None  # at the end of each call, which users make one of
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
    for rule, change in (("mjlab", undisturbed), ("ours", unended)):
        env = make(episodes, change)
        result |= play(torch, env, policy, rule)
        env.close()
    return result


def undisturbed(config: Any) -> None:
    """From the clip's start, exactly there, without noise, pushes or other bodies than the nominal ones."""
    command = config.commands["motion"]
    command.sampling_mode, command.joint_position_range = "start", (0.0, 0.0)
    command.pose_range, command.velocity_range = {}, {}
    config.observations["actor"].enable_corruption = False
    config.events, config.episode_length_s = {}, 1e6


def unended(config: Any) -> None:
    """The same, and nothing ends an episode: who lies on the ground touches it with more than who walks."""
    undisturbed(config)
    config.sim.nconmax, config.sim.njmax = 3 * config.sim.nconmax, 3 * config.sim.njmax
    config.terminations = {"time_out": config.terminations["time_out"]}


def play(torch: ModuleType, env: Any, policy: Callable[[Any], Any], rule: str) -> dict[str, float]:
    """Success over the whole clip, and the distance from the reference, mean over all bodies and the time until failure, m."""
    inner, obs = env.unwrapped, env.get_observations()
    command, failed = (
        inner.command_manager.get_term("motion"),
        torch.zeros(env.num_envs, dtype=torch.bool, device=inner.device),
    )
    total, count = (torch.zeros(env.num_envs, device=inner.device) for _ in range(2))
    with torch.inference_mode():
        for _ in range(command.motion.time_step_total - 1):
            wanted = command.motion._body_pos_w[command.time_steps] + inner.scene.env_origins[:, None]
            obs, *_ = env.step(policy(obs))
            error = (command.robot.data.body_link_pos_w - wanted).norm(dim=-1).mean(dim=-1)
            failed |= inner.termination_manager.terminated if rule == "mjlab" else error > LOST
            total, count = total + torch.where(failed, 0.0, error), count + ~failed
    found = {f"success, {rule}": 1.0 - failed.float().mean().item()}
    return found if rule == "mjlab" else found | {"body error m": (total.sum() / count.sum()).item()}


def without_pictures() -> None:
    """Empty modules for films and reports, which mjlab imports and a benchmark does not use, where they are not installed."""
    nothing = {"wandb": "run", "mediapy": "set_ffmpeg", "imageio_ffmpeg": "get_ffmpeg_exe"}
    for name, used in nothing.items():
        if find_spec(name) is None:
            sys.modules[name] = ModuleType(name)
            setattr(sys.modules[name], used, (lambda *_: None) if used != "run" else None)


if __name__ == "__main__":
    main()
