"""MuJoCo, imported in one place: `from .engine import mujoco`.

MuJoCo opens the OpenGL library that the variable MUJOCO_GL names as soon as it is imported, even if nothing is ever drawn. If that
fails, the error becomes one line with a remedy. MuJoCo's warnings about unstable physics go to the logger `mujoco`, by default to
stderr, and not to a file MUJOCO_LOG.TXT in the working folder.
"""

import logging
import os

from protege.core.errors import UserError

GL_REMEDY = (
    "Set MUJOCO_GL=egl (Debian: apt install libegl1 libgl1-mesa-dri) or MUJOCO_GL=osmesa (apt install libosmesa6); "
    "unset it to choose one automatically"
)

try:
    import mujoco
except (RuntimeError, ImportError, AttributeError) as error:
    raise UserError(
        f"MuJoCo cannot start with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} ({error})", GL_REMEDY
    ) from error

mujoco.set_mju_user_warning(logging.getLogger("mujoco").warning)

__all__ = ["GL_REMEDY", "mujoco"]
