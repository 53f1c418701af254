"""Two trials in a simulator: a robot that hangs by its root, and one that is dropped. The servos' targets are the default pose."""

from dataclasses import dataclass, replace

import torch

from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Inertia, Robot
from protege.core.robots.state import RobotState

from ..motion_quality import GRAVITY
from ..simulators.simulator import make_simulator

TRIAL_SECONDS = 2.0
DROP_HEIGHT = 0.05
"""m, height from which the robot is dropped."""
HANG_HEIGHT = 2.0
"""m above the root's height: nothing touches the ground there."""
INITIAL_OFFSET = 0.01
"""rad, initial deviation of the joints of a hanging robot from their targets: an unstable servo needs a deviation to amplify."""
EXPLODED_SPEED = 100.0
"""rad/s. A servo that holds still never moves a joint this fast."""
ANCHOR_MASS = 1e5
"""kg and kg·m², inertia of the held root. The joints of a robot of 100 kg turn it by less than 1e-3 rad in 2 s."""


@dataclass(frozen=True)
class Trial:
    """The result of a trial.

    Attributes:
        exploded: a joint's name, or `physics` if no joint can be named; empty if everything stayed finite.
        exploded_at: time of the explosion, s.
        sag: deviation of each joint from its target at the end, (J,) rad.
        speed: speed of the fastest joint at the end, rad/s.
        fell_at: time at which the root became too low, s; None if it never did.
    """

    exploded: str
    exploded_at: float
    sag: tuple[float, ...]
    speed: float
    fell_at: float | None


def hang(robot: Robot, simulator: str) -> Trial:
    """Hold the root in the air for two seconds.

    This needs no support from the simulator: the root is so heavy that nothing turns it, and a force carries the whole weight.
    """
    root, *others = robot.bodies
    anchor = replace(root, inertia=Inertia(ANCHOR_MASS, moments=(ANCHOR_MASS, ANCHOR_MASS, ANCHOR_MASS)))
    held = replace(robot, bodies=(anchor, *others))
    return _run(held, simulator, HANG_HEIGHT, INITIAL_OFFSET, push=GRAVITY * held.mass)


def drop(robot: Robot, simulator: str) -> Trial:
    """Drop the robot by 5 cm onto its feet, and let it stand for two seconds."""
    return _run(robot, simulator, DROP_HEIGHT, 0.0, push=0.0)


def _run(robot: Robot, simulator: str, lift: float, nudge: float, push: float) -> Trial:
    """Run a trial from `_start`; push: N upwards on the root."""
    target = robot.default_pose()[None]
    simulation = make_simulator(simulator, robot, 1, "cpu", 1)
    try:
        simulation.write(torch.tensor([True]), _start(robot, lift, nudge))
        simulation.push(torch.tensor([[0.0, 0.0, push]]))
        fell_at, speed = None, torch.zeros(1)
        for step in range(1, round(TRIAL_SECONDS / robot.control_dt) + 1):
            broken, speed = bool(simulation.step(target)), simulation.state.joint_vel[0].abs()
            time = step * robot.control_dt
            if broken or not speed.max() < EXPLODED_SPEED:
                joint = "physics" if broken else robot.joint_names[int(speed.argmax())]
                return Trial(joint, time, (), float(speed.max()), fell_at)
            if fell_at is None and simulation.state.root_pos_w[0, 2] < robot.fallen_root * robot.root_height:
                fell_at = time
        sag = (simulation.state.joint_pos - target)[0].tolist()
        return Trial("", 0.0, tuple(sag), float(speed.max()), fell_at)
    finally:
        simulation.close()


def _start(robot: Robot, lift: float, nudge: float) -> RobotState:
    """At rest in the default pose, `lift` m higher, and with each joint `nudge` rad nearer to the middle of its range."""
    still = torch.zeros(1, 3)
    place, upright = torch.tensor([[0.0, 0.0, robot.root_height + lift]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    pose = robot.default_pose()
    inwards = torch.where(robot.joint_range().mean(1) < pose, -1.0, 1.0)
    pose = (pose + nudge * inwards)[None]
    return Kinematics(robot).state(place, upright, still, still, pose, torch.zeros_like(pose))
