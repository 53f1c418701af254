"""Isaac Lab's configuration of our envs: Newton with the MuJoCo Warp solver, a ground, and N robots with implicit servos.

Every number comes from the compiled MuJoCo model or the robot's description.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import ArticulationCfg, AssetBaseCfg
from isaaclab.scene import InteractiveScene, InteractiveSceneCfg
from isaaclab.sensors import ContactSensorCfg
from isaaclab.sim import SimulationCfg, SimulationContext, SpawnerCfg
from isaaclab.sim.utils import clone, get_current_stage
from isaaclab.utils import configclass
from isaaclab.utils.timer import Timer
from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg
from isaaclab_newton.physics.newton_manager_cfg import NewtonShapeCfg
from pxr import Usd, UsdGeom

from protege.core.robots.robot import Robot

from ...engine import mujoco
from .usd import add_ground, add_robot

PRIM = "Robot"
"""Name of the robot's prim in each env."""
START_HEIGHT = 3.0  # m; nothing touches the ground while kernels are compiled and graphs recorded


@configclass
class ModelSpawnerCfg(SpawnerCfg):
    """Authors the robot of a MuJoCo model."""

    model: mujoco.MjModel | None = None
    body_names: tuple[str, ...] = ()


@clone
def spawn_robot(prim_path: str, cfg: ModelSpawnerCfg, translation=None, orientation=None, **_) -> Usd.Prim:
    """The robot of `cfg.model`; its pose is written later."""
    assert cfg.model is not None
    prim = add_robot(get_current_stage(), prim_path, cfg.model, cfg.body_names)
    UsdGeom.XformCommonAPI(prim).SetTranslate(translation or (0.0, 0.0, 0.0))
    return prim


@clone
def spawn_ground(prim_path: str, cfg: SpawnerCfg, translation=None, orientation=None, **_) -> Usd.Prim:
    """The floor; Isaac Lab's own floor requires a download."""
    return add_ground(get_current_stage(), prim_path)


@configclass
class SceneCfg(InteractiveSceneCfg):
    """One robot per env on a common ground; all envs start at the origin and do not interact."""

    ground = AssetBaseCfg(prim_path="/World/ground", spawn=SpawnerCfg(func=spawn_ground))
    robot: ArticulationCfg | None = None
    contacts = ContactSensorCfg(prim_path=f"{{ENV_REGEX_NS}}/{PRIM}/.*")


def joint_names(robot: Robot) -> list[str]:
    """The robot's joints by Isaac Lab's names: the hinges of a body are one joint, named after the first, with one axis each."""
    names: list[str] = []
    for body in robot.bodies:
        hinges = [joint.name for joint in robot.joints if joint.body == body.name]
        names += hinges if len(hinges) == 1 else [f"{hinges[0]}:{axis}" for axis in range(len(hinges))]
    return names


def servos(robot: Robot) -> ImplicitActuatorCfg:
    """PD servos inside the solver; torques are limited at the joints."""
    names = joint_names(robot)

    def by_name(attribute: str) -> dict[str, float]:
        return {name: getattr(joint, attribute) for name, joint in zip(names, robot.joints, strict=True)}

    return ImplicitActuatorCfg(
        joint_names_expr=names,
        stiffness=by_name("stiffness"),
        damping=by_name("damping"),
        joint_effort_limit=by_name("effort_limit"),
    )


def simulation_cfg(robot: Robot, model: mujoco.MjModel, device: str, contacts: int, constraints: int) -> SimulationCfg:
    """A step of this simulation is a control step; its substeps are one CUDA graph."""
    option = model.opt
    solver = MJWarpSolverCfg(
        integrator=int(option.integrator),  # pyright: ignore[reportArgumentType]: a name or MuJoCo's number
        cone=int(option.cone),  # pyright: ignore[reportArgumentType]
        iterations=int(option.iterations),
        ls_iterations=int(option.ls_iterations),
        tolerance=float(option.tolerance),
        impratio=float(option.impratio),
        ccd_iterations=int(option.ccd_iterations),
        nconmax=contacts,
        njmax=constraints,
        disable_sensors=True,
    )
    shapes = NewtonShapeCfg(margin=0.0, gap=0.0)
    return SimulationCfg(
        device=device,
        dt=robot.control_dt,
        gravity=tuple(option.gravity.tolist()),
        physics=NewtonCfg(num_substeps=robot.substeps, solver_cfg=solver, default_shape_cfg=shapes),
        create_stage_in_memory=True,
        save_logs_to_file=False,
    )


def build(
    robot: Robot, model: mujoco.MjModel, num_envs: int, device: str, contacts: int, constraints: int
) -> InteractiveScene:
    """Create the simulation and its scene, ready to step; `scene.sim`, `scene["robot"]`, `scene["contacts"]`."""
    with _quiet():
        simulation = SimulationContext(simulation_cfg(robot, model, device, contacts, constraints))
        config = SceneCfg(num_envs=num_envs, env_spacing=0.0)
        config.robot = ArticulationCfg(
            prim_path=f"{{ENV_REGEX_NS}}/{PRIM}",
            spawn=ModelSpawnerCfg(func=spawn_robot, model=model, body_names=robot.body_names),
            init_state=ArticulationCfg.InitialStateCfg(pos=(0.0, 0.0, START_HEIGHT)),
            actuators={"pd": servos(robot)},
            joint_ordering=joint_names(robot),
            body_ordering=list(robot.body_names),
        )
        scene = InteractiveScene(config)
        simulation.reset()
    return scene


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Isaac Lab's timing messages and deprecation warnings."""
    shown = Timer.enable_display_output
    Timer.enable_display_output = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        Timer.enable_display_output = shown
