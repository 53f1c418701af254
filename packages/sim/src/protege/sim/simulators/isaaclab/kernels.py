"""Kernels that `isaaclab` adds to Isaac Lab."""

# Kernels are written in a language of their own, which Warp compiles.
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportAttributeAccessIssue=false

import warp as wp


@wp.kernel
def publish_bodies(
    poses: wp.array2d[wp.transform],
    velocities: wp.array2d[wp.spatial_vector],
    centers: wp.array2d[wp.vec3],
    order: wp.array[int],
    pos_w: wp.array2d[wp.vec3],
    quat_w: wp.array2d[wp.vec4],
    lin_vel_w: wp.array2d[wp.vec3],
    ang_vel_w: wp.array2d[wp.vec3],
):
    """Bodies in the robot's order from Newton's arrays, with quaternions xyzw and velocities (linear, angular).

    Newton's linear velocity is that of the centre of mass; here it is that of the body frame's origin.
    """
    env, body = wp.tid()
    source = order[body]
    turn = wp.transform_get_rotation(poses[env, source])
    spin = wp.spatial_bottom(velocities[env, source])
    arm = wp.quat_rotate(turn, centers[env, source])
    pos_w[env, body] = wp.transform_get_translation(poses[env, source])
    quat_w[env, body] = wp.vec4(turn[3], turn[0], turn[1], turn[2])
    lin_vel_w[env, body] = wp.spatial_top(velocities[env, source]) - wp.cross(spin, arm)
    ang_vel_w[env, body] = spin


@wp.kernel
def publish_joints(
    positions: wp.array2d[float],
    velocities: wp.array2d[float],
    order: wp.array[int],
    joint_pos: wp.array2d[float],
    joint_vel: wp.array2d[float],
):
    """Joints in the robot's order from Newton's arrays."""
    env, joint = wp.tid()
    joint_pos[env, joint] = positions[env, order[joint]]
    joint_vel[env, joint] = velocities[env, order[joint]]
