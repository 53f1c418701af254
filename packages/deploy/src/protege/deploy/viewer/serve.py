"""Serves the viewer's page."""

import io
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Self

import viser

from ..errors import DeployError
from ..motions.clip_paths import ClipError, find_clip
from .controls import Controls
from .group import Group
from .plots import Plots
from .scene import Scene
from .simulation import Frame

OFFERED_CLIPS = ("walk", "run", "jump", "dance", "cartwheel")
"""Clips of the robot that the page offers by default, if they are found in `data/motions` or in a package."""


class Viewer:
    """Simulations and their page; a context manager.

    Args:
        students: exports by name.
        host: address to listen on; the default accepts connections from this machine only.
        port: 0 for any free one.
        clips: files, or names of shipped clips, that the page offers; by default see `OFFERED_CLIPS`.
        standing: start at rest instead of in motion.
        together: show all students side by side, under the same orders, instead of one that can be switched.

    Attributes:
        group: the simulations.
        simulation: the first of them.
        controls: panels, keys and clicks.
        url: address of the page.

    Raises:
        DeployError: an export cannot be run, or the port is in use.
    """

    def __init__(
        self,
        students: Mapping[str, Path],
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        clips: Sequence[str] = (),
        standing: bool = True,
        together: bool = False,
    ) -> None:
        self.group = Group(students, standing=standing, together=together)
        self.simulation = self.group.lead
        port = free_port(host, port)
        # A message that is none ends its connection alone; a traceback for each would fill the terminal.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        with redirect_stdout(io.StringIO()):  # its banner
            self._server = viser.ViserServer(host=host, port=port, label="Protégé", verbose=False)
        self._server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self._scene = Scene(self._server, self.group)
        self.controls = Controls(
            self._server, self.group, self._scene, list(clips) or usual_clips(self.simulation.metadata.robot)
        )
        self._plots = Plots(self._server.gui, self.group)
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

        self._ended, self._showing = Event(), Lock()

    def __enter__(self) -> Self:
        self.group.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.group.close()
        with self._showing, redirect_stdout(io.StringIO()):  # its last words
            self._server.stop()
            # `stop` gives up on a client that does not answer within 6 s; the words would then come later.
            thread = self._server._websock_server._server_thread
            if thread is not None:
                thread.join()
        self.controls.close()

    def stop(self) -> None:
        """End `run`. Any thread, and a signal's handler, may call it."""
        self._ended.set()

    def run(self, seconds: float | None = None) -> None:
        """Draw each step of the simulation for `seconds`, or until Ctrl-C or the end of the viewer.

        Raises:
            BaseException: the exception that ended the simulation.
        """
        end, actors = None if seconds is None else time.monotonic() + seconds, self.group.actors
        shown = [0] * len(actors)
        while end is None or time.monotonic() < end:
            self.group.check()
            with self._showing:
                if self._ended.is_set():
                    return
                new = [self._new_frame(index, shown) for index in range(len(shown))]
                acting = [
                    old if frame is None else (frame.student, frame.ground)
                    for frame, old in zip(new, actors, strict=True)
                ]
                if acting != actors:
                    self._scene.build(self.group)
                    actors = acting
                if any(new):
                    self._scene.show(new)
                    self._plots.add(new)
            time.sleep(self.group.metadata.control_dt / 4.0)

    def _new_frame(self, index: int, shown: list[int]) -> Frame | None:
        """The last step of a simulation, if it has not been shown; it counts as shown from now on."""
        frame = self.group.simulations[index].frame
        if frame is None or frame.index == shown[index]:
            return None
        shown[index] = frame.index
        return frame


def usual_clips(robot: str) -> list[str]:
    """The clips of `OFFERED_CLIPS` that are found for a robot."""
    return [name for name in (f"{robot}_humanoid_{clip}.npy" for clip in OFFERED_CLIPS) if _is_found(name)]


def _is_found(clip: str) -> bool:
    try:
        find_clip(Path(clip))
    except ClipError:
        return False
    return True


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Checked here because viser silently takes the next port if this one is in use.

    Raises:
        DeployError: the port is in use, or this user may not open it.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise DeployError(
            f"cannot listen on {host}, port {port} ({error.strerror})", "Choose another --port"
        ) from error
