"""What `mjwarp` computes beside MuJoCo Warp, on its device."""

# Kernels are a language of their own, which Warp compiles.
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportAttributeAccessIssue=false

import warp as wp

SPEED_LIMIT = 1e3  # m/s, rad/s; beyond it physics has gone wrong


@wp.kernel
def guard(
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    warmstart: wp.array2d[float],
    ctrl: wp.array2d[float],
    overflow: wp.array[int],
    good: wp.array2d[float],
    good_joint_pos: wp.array2d[float],
    wrong: wp.array[wp.bool],
):
    """An env with a NaN or an absurd speed goes back to its last good position, at rest.

    `good_joint_pos` are the columns of `good` that are the angles of the joints that `ctrl` (N, J) moves.
    """
    world = wp.tid()
    bad = wp.bool(False)
    for i in range(qpos.shape[1]):
        if not wp.isfinite(qpos[world, i]):
            bad = True
    for i in range(qvel.shape[1]):
        if not (wp.abs(qvel[world, i]) < SPEED_LIMIT):
            bad = True
    for i in range(ctrl.shape[1]):  # clamping the joints' torques has hidden these
        if not wp.isfinite(ctrl[world, i]):
            bad = True
    wrong[world] = bad
    for i in range(qpos.shape[1]):
        if bad:
            qpos[world, i] = good[world, i]
        else:
            good[world, i] = qpos[world, i]
    if bad:
        for i in range(qvel.shape[1]):
            qvel[world, i] = 0.0
            warmstart[world, i] = 0.0
        for i in range(ctrl.shape[1]):
            ctrl[world, i] = good_joint_pos[world, i]
        overflow[world] = 0


@wp.kernel
def body_velocities(
    xpos: wp.array2d[wp.vec3],
    com: wp.array[wp.vec3],
    cvel: wp.array2d[wp.spatial_vector],
    linear: wp.array2d[wp.vec3],
    angular: wp.array2d[wp.vec3],
):
    """Velocities of body frames from cvel: (angular, linear), the linear part at the robot's centre of mass `com`."""
    world, body = wp.tid()
    velocity = cvel[world, body]
    turn = wp.spatial_top(velocity)
    arm = xpos[world, body] - com[world]
    angular[world, body] = turn
    linear[world, body] = wp.spatial_bottom(velocity) + wp.cross(turn, arm)
