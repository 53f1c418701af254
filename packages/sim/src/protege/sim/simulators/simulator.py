"""The interface of a physics backend, and the registry of backends."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from protege.core.errors import UserError
from protege.core.plugins import entry_points
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from ..terrain import Terrain


@dataclass(frozen=True)
class Variation:
    """How the bodies of N envs differ from the robot's description. A quantity that is None does not change.

    Attributes:
        friction: (N,) factor on the friction of all surfaces, including the ground: of two touching ones MuJoCo uses the larger.
        mass: (N, B) factor on each body's mass and inertia.
        com: (N, B, 3) m, shift of each body's centre of mass in the body's frame.
        gains: (N, J, 2) factors on each servo's stiffness and damping.
        effort: (N, J) factor on each joint's effort limit.
        contact_time: (N,) factor on the time constant of contacts: above 1 they are softer.
    """

    friction: Tensor | None = None
    mass: Tensor | None = None
    com: Tensor | None = None
    gains: Tensor | None = None
    effort: Tensor | None = None
    contact_time: Tensor | None = None


class Simulator(Protocol):
    """N envs with one robot each.

    Attributes:
        state: views that are created once and refreshed by `step` and `write`.
        terrain: the ground, made with the simulator; None for a flat floor at height 0.
    """

    robot: Robot
    num_envs: int
    device: torch.device
    state: RobotState
    terrain: Terrain | None

    def step(self, joint_target: Tensor) -> Tensor:
        """One control step, `robot.substeps` physics steps, towards PD targets (N, J) rad.

        Returns:
            (N,) bool: the physics of this env failed. It is left at its last valid pose, at rest, for the caller to reset.
        """
        ...

    def write(self, mask: Tensor, target: RobotState) -> None:
        """Put the envs where mask (N,) is True into a state (N, ...), defined by its root and its joints."""
        ...

    def push(self, force_w: Tensor) -> None:
        """Push the roots at their centres of mass, (N, 3) N, in all steps until the next call. They are not saved."""
        ...

    def randomize(self, mask: Tensor, variation: Variation) -> None:
        """Change the bodies of the envs where mask (N,) is True; only if the simulator was made with `varied`."""
        ...

    def place(self, mask: Tensor, origin: Tensor) -> None:
        """Move the terrain in the envs where mask (N,) is True, so that its point (N, 2) m lies at the world frame's origin.

        A `write` must follow; only if the simulator was made with a terrain.
        """
        ...

    def contact_force_w(self) -> Tensor:
        """Net contact force on each body, (N, B, 3) N."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class RetimedSimulator(Simulator, Protocol):
    """A simulator whose physics can change its rate while it runs."""

    def set_physics_dt(self, dt: float) -> None:
        """Make each further physics step last `dt` s. The state, and the number of steps per control step, do not change."""
        ...


class Backend(NamedTuple):
    """The location of a backend's class, `module:class`, and the modules that it imports."""

    where: str
    imports: tuple[str, ...] = ()


SIMULATORS = {
    "mujoco": Backend("protege.sim.simulators.mujoco:MujocoSimulator", ("mujoco",)),
    "mjwarp": Backend("protege.sim.simulators.mjwarp:MjwarpSimulator", ("mujoco_warp", "warp")),
    "isaaclab": Backend(
        "protege.sim.simulators.isaaclab.simulator:IsaaclabSimulator", ("isaaclab", "isaaclab_newton", "warp")
    ),
}


def backends() -> dict[str, Backend]:
    """All backends that can be chosen by name: `SIMULATORS`, and the entry points `protege.simulators` of other packages."""
    others = {entry.name: Backend(entry.value) for entry in entry_points(group="protege.simulators")}
    return {**others, **SIMULATORS}


def is_installed(name: str) -> bool:
    """Whether all modules that a backend imports are installed; checked without importing them."""
    backend = backends().get(name)
    return backend is not None and all(find_spec(module) is not None for module in backend.imports)


def fastest_simulator(device: str, trained_in: str) -> str:
    """The installed backend that evaluates fastest on a device.

    On a GPU it is the one that the policy was trained in, if it is installed and runs on GPUs. On a CPU it is `mujoco`: the others
    run there too, but several times slower.

    Args:
        device: `auto` (the GPU if torch sees one), `cpu`, `cuda`, `cuda:1`.
        trained_in: the backend's name in the checkpoint's config.
    """
    asked_for_gpu = device.startswith("cuda")
    if trained_in != "mujoco" and is_installed(trained_in) and (asked_for_gpu or _finds_gpu(device)):
        return trained_in
    # `mujoco` cannot use a GPU that was asked for by name.
    return "mjwarp" if asked_for_gpu and is_installed("mjwarp") else "mujoco"


def _finds_gpu(device: str) -> bool:
    return device == "auto" and torch.cuda.is_available()


def find_simulator(name: str) -> Callable[..., Simulator]:
    """A backend's class.

    Raises:
        UserError: for a name that is not among `backends`, or a backend whose extra is not installed.
    """
    if "physx" in name.lower() or name.lower() == "isaacsim":
        raise UserError(f"no simulator {name!r}: PhysX is for later", "Take isaaclab, on Newton")
    known = backends()
    if name not in known:
        raise UserError(f"no simulator {name!r}", f"Known: {', '.join(known)}")
    module, attribute = known[name].where.split(":")
    return getattr(import_module(module), attribute)


def make_simulator(
    name: str,
    robot: Robot,
    num_envs: int,
    device: str,
    num_threads: int = 0,
    *,
    varied: bool = False,
    terrain: Terrain | None = None,
    **settings: int,
) -> Simulator:
    """Build a backend by name.

    Args:
        varied: let `randomize` make the bodies of envs differ.
        terrain: None for a flat floor at height 0.
        settings: arguments of this backend alone; see `MjwarpParams`.

    Raises:
        UserError: see `find_simulator` and the backend.
    """
    common = {"device": device, "num_threads": num_threads, "varied": varied, "terrain": terrain}
    return find_simulator(name)(robot, num_envs, **common, **settings)
