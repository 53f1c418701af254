"""Finds an OpenGL backend that draws without a window."""

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from typing import Any

from protege.core.errors import UserError

from .engine import GL_REMEDY

OFFSCREEN = ("egl", "osmesa")
PROBE_SECONDS = 60.0


def make_context(width: int, height: int) -> Any:
    """An OpenGL context of the backend that MUJOCO_GL names; if it names none, of one that works on this machine.

    Raises:
        UserError: there is no such backend.
    """
    backend = os.environ.get("MUJOCO_GL", "").lower().strip() or _choose()
    if backend not in (*OFFSCREEN, "glfw"):
        raise UserError(f"MUJOCO_GL={backend} leaves nothing to draw with", GL_REMEDY)
    try:
        context = import_module(f"mujoco.{backend}").GLContext(width, height)
        context.make_current()
    # The type of the exception for a missing or broken driver depends on where PyOpenGL notices it.
    except (RuntimeError, ImportError, AttributeError, OSError) as error:
        raise UserError(f"no picture can be drawn with MUJOCO_GL={backend} ({error})", GL_REMEDY) from error
    return context


@cache
def _choose() -> str:
    """A window system's OpenGL if there is a display, otherwise the first offscreen backend that works.

    PyOpenGL binds a process to one library for good, so each backend is tried in its own process.
    """
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    for backend in (*(("glfw",) if display else ()), *OFFSCREEN):
        command = [sys.executable, "-c", "import mujoco; mujoco.GLContext(64, 64).free()"]
        try:
            tried = subprocess.run(
                command, env={**os.environ, "MUJOCO_GL": backend}, capture_output=True, timeout=PROBE_SECONDS
            )
        except subprocess.TimeoutExpired:
            continue
        if tried.returncode == 0:
            return backend
    raise UserError("no OpenGL found to draw with", GL_REMEDY)
