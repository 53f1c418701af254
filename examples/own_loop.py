"""An exported policy in a loop of your own, in MuJoCo: `python examples/own_loop.py FOLDER`.

FOLDER is an export: `protege deploy export --checkpoint zoo:student --output results/onnx`. Replace MujocoRobot by your robot:
`read()` gives a RobotReading, `write(target)` takes joint targets in rad. torch is not imported.
"""

import sys
import time

import numpy as np

from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import Command, OnnxPolicy
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety

SPEED = 1.0  # m/s


def main(folder: str, steps: int = 90) -> None:
    policy, robot = OnnxPolicy(folder), MujocoRobot(folder)
    facts = policy.metadata
    safety = Safety(Limits.of(facts), facts)  # the loop of `protege deploy run` also clips with it; see ControlLoop
    print(
        f"{facts.robot}: {len(facts.joint_names)} joints at {1 / facts.control_dt:.0f} Hz, {safety.limits.tilt} rad of tilt"
    )

    command = Command(steering_direction_w=np.array([1.0, 0.0]), steering_speed=SPEED)  # ahead, in the world frame
    slowest = 0.0
    for _ in range(steps):
        began = time.perf_counter()
        reading = robot.read()
        target = policy.act(reading, command)  # rad, (J,)
        if not np.isfinite(target).all():
            raise SystemExit("a target is not finite: damp the joints")
        slowest = max(slowest, time.perf_counter() - began)
        robot.write(target)  # simulates a control period; a real loop sleeps until the next tick
    x, y, z = robot.read().root_pos_w
    robot.close()
    print(
        f"after {steps * facts.control_dt:.1f} s at ({x:.2f}, {y:.2f}, {z:.2f}) m, slowest step {1e3 * slowest:.1f} ms"
    )


if __name__ == "__main__":
    main(sys.argv[1])
