"""An exported policy in a loop of your own, in MuJoCo: `python examples/own_loop.py FOLDER`.

FOLDER is an export: `protege deploy export --checkpoint zoo:student --output results/onnx`. Replace MujocoRobot with your robot:
`read()` returns a RobotReading, `write(target, mode)` takes joint targets in rad. torch is not imported.
"""

import sys
import time

import numpy as np

from protege.deploy.interface import Mode
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import Command, OnnxPolicy
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety

SPEED = 1.0  # m/s


def main(folder: str, steps: int = 90) -> None:
    policy, robot = OnnxPolicy(folder), MujocoRobot(folder)
    facts = policy.metadata
    safety = Safety(Limits.of(facts), facts)
    print(f"{facts.robot}: {len(facts.joint_names)} joints at {1 / facts.control_dt:.0f} Hz")

    command = Command(steering_direction_w=np.array([1.0, 0.0]), steering_speed=SPEED)  # ahead, in the world frame
    longest = 0.0
    for step in range(steps):
        start = time.perf_counter()
        reading = robot.read()
        safety.check_reading(step, step * facts.control_dt, reading)
        target = safety.clip_target(reading, policy.act(reading, command))  # rad, (J,), within the joints' limits
        if safety.tripped is not None:  # such as a fall: from now on the joints only damp
            robot.write(safety.damping_target, Mode.DAMPING)
            raise SystemExit(str(safety.tripped))
        longest = max(longest, time.perf_counter() - start)
        robot.write(target)  # simulates one control step; a real loop sleeps until the next one
    x, y, z = robot.read().root_pos_w
    robot.close()
    print(
        f"after {steps * facts.control_dt:.1f} s at ({x:.2f}, {y:.2f}, {z:.2f}) m, slowest step {1e3 * longest:.1f} ms"
    )


if __name__ == "__main__":
    main(sys.argv[1])
