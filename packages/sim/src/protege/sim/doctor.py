"""What `protege doctor` checks of simulators, pictures and robots."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from protege.core.cli.doctor import ABSENT, BROKEN, OK, Finding
from protege.core.errors import UserError

from . import motions_extra
from .engine import GL_REMEDY
from .gl import make_context
from .robots import robot_names
from .simulators.simulator import backends, is_installed


def check_sim() -> Iterator[Finding]:
    """Every simulator backend, the extra `motions`, OpenGL, and the robots that are known by name."""
    for name, backend in backends().items():
        if is_installed(name):
            yield Finding(name, OK, ", ".join(filter(None, map(_version, backend.imports))))
        else:
            missing = ", ".join(backend.imports)
            yield Finding(name, ABSENT, f"needs {missing}", f'pip install "protege-sim[{name}]"')
    missing = [module for module in motions_extra.MODULES if find_spec(module) is None]
    if missing:
        lacking = f"no films, and no motions of other skeletons: needs {', '.join(missing)}"
        yield Finding("motions", ABSENT, lacking, motions_extra.REMEDY)
    else:
        yield Finding("motions", OK, ", ".join(filter(None, map(_version, motions_extra.MODULES))))
    try:
        context = make_context(64, 64)
    except UserError as error:
        yield Finding("OpenGL", BROKEN, f"no pictures, films or viewer meshes: {error}", GL_REMEDY)
    else:
        context.free()
        yield Finding("OpenGL", OK, type(context).__module__)
    yield Finding("robots", OK, ", ".join(robot_names()))


def _version(module: str) -> str:
    """Of the distribution that is named like a module; empty if none is."""
    for name in (module, module.replace("_", "-"), f"{module}-lang"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return ""
