"""The output of `protege sim robots check`, line by line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from protege.core.errors import UserError
from protege.core.robots.robot import Robot

from ..columns import columns
from ..simulators.simulator import backends, is_installed
from .doubts import colliding_pairs, doubts
from .loads import standing_torques
from .picture import draw
from .stability import unstable_servos
from .trial import TRIAL_SECONDS, Trial, drop, hang

MOVING_SPEED = 1.0
"""rad/s: a joint that is faster than this at the end of the hanging trial is not at rest."""
GAINS_REMEDY = (
    "Take a higher rates.physics, less stiffness (kp, servos.stiffness or servos.natural_frequency), or more armature"
)


def check(robot: Robot, picture: Path, simulators: Sequence[str] = ()) -> Iterator[str]:
    """Facts, doubts, the picture, and the trials in each simulator.

    Args:
        robot: read from its files.
        picture: file that the picture is written to.
        simulators: names; by default all installed ones.

    Raises:
        UserError: at the end, with all errors: unstable servos, physics that explodes, a simulator that rejects the robot.
    """
    yield from facts(robot)
    unstable, found = unstable_servos(robot), doubts(robot)
    if unstable:
        yield f"errors: {len(unstable)}"
        yield from (f"  {finding}" for finding in unstable)
    yield f"doubtful: {len(found)}" if found else "doubtful: nothing"
    yield from (f"  {finding}" for finding in found)
    try:
        draw(robot, picture)
        yield f"picture: {picture}"
    except UserError as error:
        yield f"picture: none, {error}"
    wrong = [UserError(f"{x.element} {x.problem}", x.remedy) for x in unstable]
    for name in simulators or [name for name in backends() if is_installed(name)]:
        try:
            hung, dropped = hang(robot, name), drop(robot, name)
        except UserError as error:
            yield f"{name}: {error}"
            wrong.append(UserError(f"{name} rejects the robot: {error.problem}", error.remedy))
            continue
        yield f"{name}: {_hung(robot, hung)}; {_dropped(dropped)}"
        for trial in (hung, dropped):
            if trial.exploded:
                who = f"joint {trial.exploded}" if trial.exploded in robot.joint_names else "physics"
                wrong.append(UserError(f"{who} explodes after {trial.exploded_at:.2f} s in {name}", GAINS_REMEDY))
    if wrong:
        raise UserError.together([UserError(f"{robot.name}: {x.problem}", x.remedy) for x in wrong])


def facts(robot: Robot) -> Iterator[str]:
    """Facts from the robot's files."""
    groups, solver = robot.groups, robot.solver
    yield (
        f"{robot.name}: {robot.num_bodies} bodies, {robot.num_joints} joints, {robot.mass:.2f} kg, "
        f"root {robot.root_height:.3f} m over the ground"
    )
    yield (
        f"rates: control {1.0 / robot.control_dt:g} Hz, physics {1.0 / robot.physics_dt:g} Hz; {solver.integrator}, "
        f"{solver.iterations} iterations"
    )
    for group, left, right in (
        ("feet", groups.left_foot, groups.right_foot),
        ("hands", groups.left_hand, groups.right_hand),
    ):
        yield f"{group}: left {', '.join(left) or 'none'}; right {', '.join(right) or 'none'}"
    yield f"torso: {groups.torso}; head: {groups.head}; imu: on {groups.imu.body}"
    shapes = sum(len(body.geoms) for body in robot.bodies)
    pairs = f"{colliding_pairs(robot)} pairs of bodies" if robot.self_collision else "off"
    yield f"shapes that collide: {shapes}; self-collision: {pairs}"
    yield from columns(_joints(robot))


def _joints(robot: Robot) -> list[tuple[object, ...]]:
    head = (
        "joint",
        "from rad",
        "to rad",
        "pose rad",
        "N·m/rad",
        "N·m·s/rad",
        "limit N·m",
        "standing N·m",
        "action rad",
    )
    rows = zip(robot.joints, robot.default_joint_pos, standing_torques(robot).tolist(), strict=True)
    return [
        head,
        *(
            (
                joint.name,
                *(f"{x:.2f}" for x in (*joint.range, angle)),
                *(f"{x:.4g}" for x in (joint.stiffness, joint.damping, joint.effort_limit)),
                f"{round(torque, 1) + 0.0:.1f}",  # without a -0.0
                f"{joint.action_scale:.3g}",
            )
            for joint, angle, torque in rows
        ),
    ]


def _hung(robot: Robot, trial: Trial) -> str:
    if trial.exploded:
        return f"held in the air it explodes after {trial.exploded_at:.2f} s ({trial.exploded})"
    if not trial.sag:
        return "held in the air"
    joint = int(np.abs(trial.sag).argmax())
    sentence = f"held in the air its joints sag by up to {abs(trial.sag[joint]):.3f} rad ({robot.joint_names[joint]})"
    return sentence if trial.speed < MOVING_SPEED else f"{sentence} and still move at {trial.speed:.1f} rad/s"


def _dropped(trial: Trial) -> str:
    if trial.exploded:
        return f"dropped it explodes after {trial.exploded_at:.2f} s ({trial.exploded})"
    stood = f"stands for {TRIAL_SECONDS:g} s" if trial.fell_at is None else f"falls after {trial.fell_at:.2f} s"
    return f"dropped from 5 cm, its targets held still, it {stood}"
