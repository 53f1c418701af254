"""Pictures and films of a robot, drawn offscreen."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio.v3 as iio
import numpy as np

from protege.core.errors import UserError
from protege.core.files import writable_folder, write_atomically
from protege.core.motions import Clip
from protege.core.robots.robot import Rgba, Robot

from .engine import mujoco
from .gl import make_context
from .menagerie import meshes
from .motions_extra import needs_motions_extra
from .robots.addresses import addresses
from .robots.looks import add_looks
from .robots.mjcf import build_spec

FPS = 30
AZIMUTH, ELEVATION = 120.0, -10.0
"""Direction of the camera's view, about z and above the horizontal, degrees. Its distance is given by the robot's `Camera`."""
COMPANION_OFFSET = 1.2 * np.array([-np.sin(np.radians(AZIMUTH)), np.cos(np.radians(AZIMUTH)), 0.0])
"""m, from the robot's root to its companion's: to the left in the picture, across the view direction."""
COMPANION_DISTANCE_FACTOR = 1.35
"""Factor on the camera's distance if a companion is drawn."""

Companion = Callable[[mujoco.MjvScene, float, np.ndarray], None]
"""Adds shapes beside the robot to a scene, given s since the clip's start, and the robot's root position (3,) m."""


@dataclass(frozen=True, eq=False)
class Mark:
    """A shape without a body: a ball, or a bone or arrow between two points.

    Attributes:
        kind: sphere, capsule or arrow.
        radius: m.
        points: (1, 3) m, the ball's centre, or (2, 3) m, the ends, world frame.
        rgba: colour and opacity, 0 to 1.
    """

    kind: mujoco.mjtGeom
    radius: float
    points: np.ndarray
    rgba: Rgba


def add_mark(scene: mujoco.MjvScene, mark: Mark) -> None:
    """Add a mark to a scene if the scene has room."""
    if scene.ngeom >= scene.maxgeom:
        return
    geom, kind = scene.geoms[scene.ngeom], mark.kind.value
    size, turn = np.full(3, mark.radius), np.eye(3).ravel()
    mujoco.mjv_initGeom(geom, kind, size, mark.points[0], turn, np.array(mark.rgba, np.float32))
    if len(mark.points) == 2:
        mujoco.mjv_connector(geom, kind, mark.radius, *mark.points)
    geom.category = mujoco.mjtCatBit.mjCAT_DYNAMIC.value
    scene.ngeom += 1


class Renderer:
    """Draws one robot at a time, with a camera that follows its root. Close it, or use it in a `with` block.

    Args:
        robot: the robot that is drawn.
        width: pixels, even (films need it), at most 1920.
        height: pixels, even, at most 1080.
        frames: draw the axes of all bodies' frames, and make the bodies transparent.
        shapes: draw the collision shapes instead of the visual ones.

    Raises:
        UserError: OpenGL is missing, or the size is invalid.
    """

    def __init__(
        self, robot: Robot, width: int = 640, height: int = 480, *, frames: bool = False, shapes: bool = False
    ) -> None:
        spec = build_spec(robot)
        if not shapes:
            add_looks(spec, robot, meshes(robot.menagerie, spec.compile(), robot.body_names))
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self._qpos, self._look_at = addresses(self.model, robot).qpos, robot.camera.height
        largest = self.model.vis.global_
        if not (0 < width <= largest.offwidth and 0 < height <= largest.offheight) or width % 2 or height % 2:
            raise UserError(
                f"a picture of {width} x {height} cannot be drawn",
                f"Take even numbers up to {largest.offwidth} x {largest.offheight}",
            )
        self.width, self.height = width, height
        self._scene = mujoco.MjvScene(self.model, maxgeom=1000)
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.azimuth, self._camera.elevation, self._distance = AZIMUTH, ELEVATION, robot.camera.distance
        if frames:
            self._option.frame = mujoco.mjtFrame.mjFRAME_BODY.value
            self._option.flags[mujoco.mjtVisFlag.mjVIS_TRANSPARENT] = True
        self._gl = make_context(width, height)
        self._context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)

    def frame(
        self,
        qpos: np.ndarray,
        moment: float = 0.0,
        companion: Companion | None = None,
        marks: Sequence[Mark] = (),
    ) -> np.ndarray:
        """One picture, (height, width, 3) uint8, of `qpos` (7 + J,): root position m, root rotation wxyz, joints rad.

        Args:
            companion: draws shapes to the robot's left, as they are at `moment` (s).
            marks: further shapes, for which the camera does not move.
        """
        self.data.qpos[self._qpos] = qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        middle = qpos[:2] if companion is None else qpos[:2] + COMPANION_OFFSET[:2] / 2.0
        self._camera.lookat[:] = (*middle, self._look_at)
        self._camera.distance = self._distance * (1.0 if companion is None else COMPANION_DISTANCE_FACTOR)
        mujoco.mjv_updateScene(
            self.model, self.data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        if companion is not None:
            companion(self._scene, moment, qpos[:3])
        for mark in marks:
            add_mark(self._scene, mark)
        self._gl.make_current()
        picture = np.empty((self.height, self.width, 3), dtype=np.uint8)
        area = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(area, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, area, self._context)
        return picture[::-1]

    def play(
        self,
        clip: Clip,
        fps: float = FPS,
        start: float = 0.0,
        seconds: float | None = None,
        companion: Companion | None = None,
    ) -> Iterator[np.ndarray]:
        """Pictures of a clip, kinematic, without physics: from `start` (s) for `seconds`, or to its end; see `frame`."""
        length = clip.duration - start
        count = int((length if seconds is None else min(seconds, length)) * fps + 1e-6) + 1
        moments = start + np.arange(count) / fps
        for moment, qpos in zip(moments, np.concatenate(clip.at(moments), axis=1), strict=True):
            yield self.frame(qpos, float(moment), companion)

    def close(self) -> None:
        self._context.free()
        self._gl.free()

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def film_strip(frames: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size in a grid, left to right and top to bottom; the rest of the last row is white."""
    height, width, _ = frames[0].shape
    rows = -(-len(frames) // columns)
    strip = np.full((rows * height, columns * width, 3), 255, dtype=np.uint8)
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        strip[row * height : (row + 1) * height, column * width : (column + 1) * width] = frame
    return strip


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture atomically."""
    write_atomically(Path(path), lambda file: iio.imwrite(file, picture, extension=".png"))


def webp(frames: Iterable[np.ndarray], fps: float, quality: int) -> bytes:
    """An animated WebP, which browsers repeat for ever. It needs no extra.

    Args:
        quality: 0 to 100.
    """
    duration = round(1e3 / fps)  # ms
    options: Any = {"duration": duration, "loop": 0, "quality": quality, "method": 6}
    return iio.imwrite("<bytes>", np.stack(list(frames)), extension=".webp", plugin="pillow", **options)


def write_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float = FPS) -> None:
    """Write a film (H.264) atomically. Frames are encoded as they are generated.

    Raises:
        UserError: there are no frames, the file cannot be written, or the extra `motions` is not installed.
    """
    with needs_motions_extra("a film"):
        from imageio_ffmpeg import write_frames
    path = Path(path)
    writable_folder(path.parent)
    with TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        encoder = None
        for frame in frames:
            if encoder is None:
                size = (frame.shape[1], frame.shape[0])
                rate: Any = fps  # the encoder accepts fractions, although its signature does not say so
                encoder = write_frames(str(film), size, fps=rate, codec="libx264", macro_block_size=2)
                encoder.send(None)
            encoder.send(np.ascontiguousarray(frame))
        if encoder is None:
            raise UserError(f"{path} would have no pictures", "Give it at least one")
        encoder.close()
        write_atomically(path, lambda file: file.write(film.read_bytes()))
