"""Makes the README's moving picture: the shipped students follow a path, run, jump and are pushed.

    python scripts/film.py scripts/film.yaml --output docs/images/capabilities.webp

MuJoCo simulates each robot with the ONNX export of its student. Drawing needs OpenGL; `protege doctor` says whether it is there.
The YAML file says which robots and commands are shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont

from protege.core.errors import UserError
from protege.core.motions.poses import Poses, interpolate
from protege.deploy.commands.commander import Commander
from protege.deploy.export.export import export
from protege.deploy.geometry import Pose2D
from protege.deploy.motions.clips import load_clip
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy
from protege.sim.engine import mujoco
from protege.sim.render import Mark, Renderer, webp
from protege.sim.robots import get_robot

PUSH_SECONDS = 0.2
"""s, as in the push test."""
ARROW_SECONDS, ARROW_LENGTH, ARROW_HEIGHT = 0.5, 0.6, 0.2
"""s that a push's arrow is shown; m; m of the arrow above the root."""
ORDER_COLOR, ARROW_COLOR, TEXT_COLOR = (0.90, 0.45, 0.10, 1.0), (0.85, 0.15, 0.15, 1.0), (30, 36, 46)


@dataclass(frozen=True)
class Push:
    """A horizontal force from behind, for `PUSH_SECONDS`, at a time (s); `weight`: as a share of the robot's weight."""

    at: float
    weight: float


@dataclass(frozen=True)
class Scene:
    """One part of the film.

    Attributes:
        caption: shown below the robot.
        begin: time of the run from where on it is shown, s.
        order: what is commanded from the start; see docs/realtime.md.
        clip: a clip that is tracked instead; the robot starts in its first pose.
        push: None for none.
    """

    caption: str
    begin: float
    order: Mapping[str, Any] = field(default_factory=dict)
    clip: str = ""
    push: Push | None = None


class Film:
    """Simulates and draws the scenes of one robot.

    Args:
        name: the robot.
        folder: the export of its policy.
        width, height: of a picture, pixels.
    """

    def __init__(self, name: str, folder: Path, width: int, height: int) -> None:
        self.name, self.policy, self.robot = name, OnnxPolicy(folder), MujocoRobot(folder)
        self.renderer = Renderer(get_robot(name), width, height)

    def pictures(self, scene: Scene, seconds: float, fps: float) -> Iterator[np.ndarray]:
        """Pictures of a scene, (height, width, 3) uint8 each."""
        shown = scene.begin + np.arange(round(seconds * fps)) / fps
        times, poses = self.simulate(scene, float(shown[-1]))
        rows = np.concatenate(interpolate(poses, times, shown), axis=1)
        for time, row in zip(shown, rows, strict=True):
            yield self.renderer.frame(row, marks=marks(scene, float(time), row[:3]))

    def simulate(self, scene: Scene, seconds: float) -> tuple[np.ndarray, Poses]:
        """Run a scene; returns the times (T,) s and the robot's poses then.

        Raises:
            UserError: the robot falls.
        """
        policy, robot, metadata = self.policy, self.robot, self.policy.metadata
        robot.reset(metadata.start)
        if scene.clip:
            clip = load_clip(scene.clip, metadata, robot.body_poses).placed(Pose2D(np.zeros(2), 0.0))
            robot.reset(clip.start())
        policy.reset()
        commander = Commander(policy, robot.body_poses)
        commander.order({"motion": {"clip": scene.clip}} if scene.clip else scene.order)
        weight = robot.model.body_mass.sum() * np.linalg.norm(robot.model.opt.gravity)
        times = metadata.control_dt * np.arange(round(seconds / metadata.control_dt) + 2)
        states = []
        for time in times:
            reading = robot.read()
            states.append((reading.root_pos_w, reading.root_quat_w, reading.joint_pos))
            pushed = scene.push is not None and 0.0 <= time - scene.push.at < PUSH_SECONDS
            share = scene.push.weight if scene.push and pushed else 0.0
            robot.push(share * weight * np.array([1.0, 0.0, 0.0]))
            robot.write(policy.act(reading, commander(time, reading)))
            if robot.has_fallen:
                raise UserError(f"{self.name} falls in the scene '{scene.caption}' after {time:.1f} s", "Change it")
        return times, Poses(*(np.stack(column) for column in zip(*states, strict=True)))


def scene_of(told: Mapping[str, Any]) -> Scene:
    """A scene from plain data."""
    return Scene(**{**told, "push": Push(**told["push"]) if "push" in told else None})


def marks(scene: Scene, time: float, root: np.ndarray) -> list[Mark]:
    """The commanded line or point on the ground, and the arrow of a push at a root (3,) m."""
    found = []
    line = np.array(scene.order.get("path", {}).get("points", []))
    for ends in pairwise(line):
        found.append(Mark(mujoco.mjtGeom.mjGEOM_CAPSULE, 0.02, np.column_stack([ends, [0.0, 0.0]]), ORDER_COLOR))
    if "goal" in scene.order:
        point = np.array([[*scene.order["goal"]["point"], 0.0]])
        found.append(Mark(mujoco.mjtGeom.mjGEOM_SPHERE, 0.08, point, ORDER_COLOR))
    if scene.push and 0.0 <= time - scene.push.at < ARROW_SECONDS:
        tip = root + np.array([-0.12, 0.0, ARROW_HEIGHT])
        arrow = np.stack([tip - np.array([ARROW_LENGTH, 0.0, 0.0]), tip])
        found.append(Mark(mujoco.mjtGeom.mjGEOM_ARROW, 0.03, arrow, ARROW_COLOR))
    return found


def captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    """A picture with a caption at its bottom, where a jump does not reach."""
    image = Image.fromarray(picture)
    place = (image.width // 2, image.height - 6)
    ImageDraw.Draw(image).text(place, caption, TEXT_COLOR, ImageFont.load_default(16), anchor="md")
    return np.asarray(image)


@click.command()
@click.argument("description", type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="a .webp file")
@click.option("--fps", default=10.0, show_default=True, help="pictures in a second")
@click.option("--width", default=224, show_default=True, help="of each robot's picture, pixels")
@click.option("--height", default=204, show_default=True, help="pixels")
@click.option("--quality", default=18, show_default=True, type=click.IntRange(0, 100), help="of the WebP")
def main(description: Path, output: Path, fps: float, width: int, height: int, quality: int) -> None:
    """Write the film of DESCRIPTION, such as scripts/film.yaml, as an animated WebP."""
    told = yaml.safe_load(description.read_text())
    columns = []
    for robot in told["robots"]:
        with TemporaryDirectory() as folder:
            film = Film(robot["robot"], export(robot["checkpoint"], Path(folder) / "export"), width, height)
            column = []
            for scene, seconds in zip(robot["scenes"], told["seconds"], strict=True):
                shown = scene_of(scene)
                caption = f"{robot['caption']}: {shown.caption}"
                column += [captioned(picture, caption) for picture in film.pictures(shown, seconds, fps)]
            film.renderer.close()
            columns.append(column)
    pictures = [np.concatenate(row, axis=1) for row in zip(*columns, strict=True)]
    output.write_bytes(webp(pictures, fps, quality))
    click.echo(f"{output}: {len(pictures)} pictures, {output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
