"""Stability of the servos at the physics rate: the eigenvalues of one linearised physics step."""

import numpy as np

from protege.core.robots.robot import Robot

from ..engine import mujoco
from .default_pose import posed
from .finding import Finding

MAX_GROWTH = 1.001
"""Largest growth of a deviation in a step: rounding can make the eigenvalues of 1, those of the free root, this large."""
MAX_RATE_FACTOR = 64
"""Largest multiple of the physics rate at which a stable rate is searched for."""


def unstable_servos(robot: Robot) -> list[Finding]:
    """The joint whose servo is unstable at the physics rate, and the rate from which on it is stable; empty if none is."""
    mass = _mass_matrix(robot)
    growth, joint = _growth(robot, mass, robot.physics_dt)
    if growth <= MAX_GROWTH:
        return []
    rate = round(1.0 / robot.physics_dt)
    stable = [k for k in range(2, MAX_RATE_FACTOR + 1) if _growth(robot, mass, robot.physics_dt / k)[0] <= MAX_GROWTH]
    faster = f"rates.physics of {stable[0] * rate}, or " if stable else ""
    implicit = ", or physics.integrator: implicitfast" if robot.solver.integrator == "euler" else ""
    servo = robot.joints[joint]
    return [
        Finding(
            f"joint {servo.name}",
            f"has a servo ({servo.stiffness:g} N·m/rad, {servo.damping:g} N·m·s/rad) that is unstable at {rate} Hz: what it "
            f"is off by grows {growth:.2f}-fold a step",
            f"Take {faster}less stiffness (kp, servos.stiffness or servos.natural_frequency), or more armature{implicit}",
        )
    ]


def _mass_matrix(robot: Robot) -> np.ndarray:
    """(6 + J, 6 + J) kg, kg·m and kg·m², in the default pose, including armature."""
    model, data, at = posed(robot)
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, mass)
    return mass[at.qvel, at.qvel]


def _growth(robot: Robot, mass: np.ndarray, dt: float) -> tuple[float, int]:
    """The largest absolute eigenvalue of a step of dt s, and the joint with the largest share in its eigenvector.

    MuJoCo computes v' = (M + dt D)⁻¹ (M v - dt K q - dt D_explicit v) and q' = q + dt v'. The implicit integrators have all
    damping in D; Euler has the joints' own damping in D, and the servos' in D_explicit.
    """
    count = len(mass)
    own, servo, stiffness = (np.zeros((count, count)) for _ in range(3))
    hinges = np.arange(6, count)
    own[hinges, hinges] = [joint.passive_damping for joint in robot.joints]
    servo[hinges, hinges] = [joint.damping for joint in robot.joints]
    stiffness[hinges, hinges] = [joint.stiffness for joint in robot.joints]
    explicit = servo if robot.solver.integrator == "euler" else np.zeros_like(servo)
    solve = np.linalg.inv(mass + dt * (own + servo - explicit))
    speed = np.hstack([-dt * solve @ stiffness, solve @ (mass - dt * explicit)])
    step = np.vstack([np.hstack([np.eye(count), np.zeros((count, count))]) + dt * speed, speed])
    values, vectors = np.linalg.eig(step)
    worst = int(np.abs(values).argmax())
    shares = np.abs(vectors[6:count, worst])
    # Left and right joints of a symmetric robot have equal shares except for rounding: take the first.
    return float(abs(values[worst])), int((shares > (1.0 - 1e-6) * shares.max()).argmax())
