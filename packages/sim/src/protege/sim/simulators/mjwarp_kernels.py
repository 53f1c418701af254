"""Kernels that `mjwarp` adds to MuJoCo Warp."""

# Kernels are written in a language of their own, which Warp compiles.
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportAttributeAccessIssue=false

import warp as wp

SPEED_LIMIT = 1e3  # m/s, rad/s; beyond it the physics is invalid


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
    """Reset an env with a NaN or an absurd speed to its last valid position, at rest.

    `good_joint_pos`: the columns of `good` with the angles of the joints that `ctrl` (N, J) moves.
    """
    env = wp.tid()
    bad = wp.bool(False)
    for i in range(qpos.shape[1]):
        if not wp.isfinite(qpos[env, i]):
            bad = True
    for i in range(qvel.shape[1]):
        if not (wp.abs(qvel[env, i]) < SPEED_LIMIT):
            bad = True
    for i in range(ctrl.shape[1]):  # these are hidden by clamping the joints' torques
        if not wp.isfinite(ctrl[env, i]):
            bad = True
    wrong[env] = bad
    for i in range(qpos.shape[1]):
        if bad:
            qpos[env, i] = good[env, i]
        else:
            good[env, i] = qpos[env, i]
    if bad:
        for i in range(qvel.shape[1]):
            qvel[env, i] = 0.0
            warmstart[env, i] = 0.0
        for i in range(ctrl.shape[1]):
            ctrl[env, i] = good_joint_pos[env, i]
        overflow[env] = 0


@wp.kernel
def body_velocities(
    xpos: wp.array2d[wp.vec3],
    com: wp.array[wp.vec3],
    cvel: wp.array2d[wp.spatial_vector],
    linear: wp.array2d[wp.vec3],
    angular: wp.array2d[wp.vec3],
):
    """Velocities of body frames from cvel: (angular, linear), its linear part at the robot's centre of mass `com`."""
    env, body = wp.tid()
    velocity = cvel[env, body]
    turn = wp.spatial_top(velocity)
    arm = xpos[env, body] - com[env]
    angular[env, body] = turn
    linear[env, body] = wp.spatial_bottom(velocity) + wp.cross(turn, arm)
