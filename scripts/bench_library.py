"""Benchmark of 10 000 clips of 10 s: packing, time to the first iteration, memory, and steps per second compared to three clips.

The clips are variations of the shipped ones: 0.8 to 1.25 times the speed, mirrored or not, with another phase. They are written
to a temporary folder. `python scripts/bench_library.py --clips 10000 --robot smpl`
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from protege.core.motions import Clip, load_clips, save_clip
from protege.core.robots.robot import Robot
from protege.sim.robots import get_robot

SECONDS = 10.0


def mirrored(clip: Clip, robot: Robot) -> Clip:
    """The clip with left and right exchanged: the sign of y changes, and that of joint angles about x and z."""
    names = list(clip.joint_names or robot.joint_names)
    other = [_other_side(name) for name in names]
    axes = {joint.name: np.abs(np.array(joint.axis)) for joint in robot.joints}
    order = [names.index(x) if x in names else i for i, x in enumerate(other)]
    sign = np.array([1.0 if axes[name][1] > 0.7 else -1.0 for name in names])
    return replace(
        clip,
        root_pos_w=clip.root_pos_w * [1.0, -1.0, 1.0],
        root_quat_w=clip.root_quat_w * [1.0, -1.0, 1.0, -1.0],
        joint_pos=clip.joint_pos[:, order] * sign,
    )


def _other_side(name: str) -> str:
    for a, b in (("L_", "R_"), ("left_", "right_")):
        if name.startswith(a):
            return b + name.removeprefix(a)
        if name.startswith(b):
            return a + name.removeprefix(b)
    return name


def varied(clip: Clip, name: str, random: np.random.Generator) -> Clip:
    """Ten seconds of a clip at a random speed from a random phase; a clip that ends repeats from the place where it ended."""
    speed, phase = random.uniform(0.8, 1.25), random.uniform(0.0, clip.duration)
    time_ = np.arange(round(SECONDS * 30.0) + 1) / 30.0
    along = phase + speed * time_
    turn, rest = np.divmod(along, clip.duration)
    poses = clip.at(rest)
    travelled = clip.root_pos_w[-1] - clip.root_pos_w[0]
    pos = poses.root_pos_w + turn[:, None] * travelled * [1.0, 1.0, 0.0]
    jump = np.flatnonzero(np.diff(turn))  # a clip may not be cyclic, so its ends are joined over a third of a second
    for at in jump:
        for x in (pos, poses.joint_pos, poses.root_quat_w):
            a, b = max(at - 5, 0), min(at + 6, len(x) - 1)
            x[a : b + 1] = np.linspace(x[a], x[b], b - a + 1)
    quat = poses.root_quat_w / np.linalg.norm(poses.root_quat_w, axis=1, keepdims=True)
    return replace(clip, name=name, time=time_, root_pos_w=pos, root_quat_w=quat, joint_pos=poses.joint_pos, fps=30.0)


def write_clips(folder: Path, robot: Robot, count: int) -> None:
    """Write `count` clips of a robot, the same ones in every call."""
    random, sources = np.random.default_rng(0), load_clips(shipped(robot), robot)
    mirrors = [mirrored(clip, robot) for clip in sources]
    for i in range(count):
        clip = (sources, mirrors)[int(random.integers(2))][int(random.integers(len(sources)))]
        save_clip(folder / f"{clip.name}_{i:05d}.npy", varied(clip, f"{i}", random))


def shipped(robot: Robot) -> list[str]:
    """The clips that are shipped with the packages."""
    return [f"{robot.name}_humanoid_{name}.npy" for name in ("walk", "run", "jump")]


def training(
    preset: str, robot: Robot, files: list[str], results: Path, name: str, options: dict[str, object]
) -> dict[str, float]:
    """Train in a separate process: time to the first iteration, s, steps per second after the fifth, and peak memory, GB."""
    words = [sys.executable, "-m", "protege.core.cli.umbrella", "core", "train", preset, "--robot", robot.name]
    words += ["--experiment-name", name, "--results-dir", str(results)]
    words += [f"--{key.replace('_', '-')}={value}" for key, value in options.items() if value is not None]
    words += [word for file in files for word in ("--motion-file", file)]
    begun, first = time.time(), 0.0
    log, output_file = results / name / "metrics.jsonl", results / f"{name}.txt"
    output_file.parent.mkdir(parents=True, exist_ok=True)
    with output_file.open("w") as output:  # a full pipe without a reader would block the training
        process = subprocess.Popen([*words, "run.max_time=null"], stderr=output)
    peak = 0.0
    while process.poll() is None:
        if not first and log.is_file():
            first = time.time() - begun
        if match := re.search(r"VmHWM:\s+(\d+) kB", _status(process.pid)):
            peak = max(peak, float(match[1]) / 1e6)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(output_file.read_text())
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    early, late = rows[4], rows[-1]
    rate = (late["samples"] - early["samples"]) / (late["seconds"] - early["seconds"])
    return {"first_iteration_s": first, "steps_per_s": rate, "peak_gb": peak}


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""


@click.command()
@click.option("--clips", default=10_000, show_default=True)
@click.option("--robot", default="smpl", show_default=True)
@click.option("--iterations", default=60, show_default=True)
@click.option("--num-envs", default=256, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="folder of the clips; if given, it is kept and reused")
@click.option("--preset", default="full_body_tracker/laptop", show_default=True, help="preset of the training")
@click.option("--simulator", help="default: the preset's")
@click.option("--pack-only", is_flag=True, help="make and pack the clips of --folder without training")
def main(
    clips: int,
    robot: str,
    iterations: int,
    num_envs: int,
    folder: Path | None,
    preset: str,
    simulator: str | None,
    pack_only: bool,
) -> None:
    """Run the benchmark and print its results as JSON."""
    options: dict[str, object] = {"max_iterations": iterations, "num_envs": num_envs, "simulator": simulator}
    target = get_robot(robot)
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary) / "clips"
        results, library = Path(temporary) / "results", place / "all.library"
        os.environ["PROTEGE_CACHE"] = str(Path(temporary) / "cache")
        if not library.is_file() and not any(place.glob("*.npy")):
            place.mkdir(parents=True, exist_ok=True)
            write_clips(place, target, clips)
        measured: dict[str, object] = {"robot": robot, "clips": clips, "num_envs": num_envs, "cores": os.cpu_count()}
        begun = time.time()
        if not library.is_file():
            words = ["sim", "motions", "pack", str(place), "--output", str(library), "--robot", robot]
            subprocess.run([sys.executable, "-m", "protege.core.cli.umbrella", *words], check=True, stdout=sys.stderr)
            measured["packing_s"] = time.time() - begun
            measured["packing_peak_gb_of_a_process"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        measured["packed_gb"] = library.stat().st_size / 1e9
        if not pack_only:
            measured["packed"] = training(preset, target, [str(library)], results, "packed", options)
            measured["three"] = training(preset, target, shipped(target), results, "three", options)
        click.echo(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
