"""Compares the Triton kernels with torch, on a GPU or in Triton's interpreter; test_kinematics.py runs this file."""

import sys

import torch

from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.sim.robots import get_robot, robot_names

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def draw(robot: Robot, n: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    sizes = (3, 4, 3, 3, robot.num_joints, robot.num_joints)
    inputs = [torch.randn(n, size, generator=g) for size in sizes]
    inputs[1] = R.normalize(inputs[1])
    return [x.to(DEVICE).requires_grad_() for x in inputs]


def bodies(state: RobotState) -> list[torch.Tensor]:
    return [state.body_pos_w, state.body_quat_w, state.body_lin_vel_w, state.body_ang_vel_w]


def check(robot: Robot) -> None:
    plain, fused, inputs = Kinematics(robot).to(DEVICE), Kinematics(robot).to(DEVICE), draw(robot, 70)
    fused.fuse()
    posed = [inputs[0], inputs[1], inputs[4]]
    for given, theirs, mine in (
        (posed, plain(*posed), fused(*posed)),
        (inputs, bodies(plain.state(*inputs)), bodies(fused.state(*inputs))),
    ):
        pulls = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE) for x in mine]
        found, wanted = (torch.autograd.grad(x, given, pulls) for x in (mine, theirs))
        for a, b in zip([*mine, *found], [*theirs, *wanted], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.detach().abs().max()))


if __name__ == "__main__":
    for name in robot_names():
        check(get_robot(name))
        sys.stdout.write(f"{name} agrees\n")
