"""The model's inputs and outputs, derived from the observations of its policy."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .metadata import TensorSpec

_BODY = [
    TensorSpec("root_pos_w", "float32", [3], "m", "world", "origin of the root body"),
    TensorSpec("root_quat_w", "float32", [4], "1", "world", "rotation of the root body, wxyz"),
    TensorSpec("root_lin_vel_w", "float32", [3], "m/s", "world", "velocity of the root body's origin"),
    TensorSpec("root_ang_vel_w", "float32", [3], "rad/s", "world", "angular velocity of the root body"),
    TensorSpec("joint_pos", "float32", [], "rad", "joint", "joint angles, in the order of joint_names"),
    TensorSpec("joint_vel", "float32", [], "rad/s", "joint", "joint velocities, in the order of joint_names"),
]
_ONBOARD = [
    TensorSpec(
        "imu_quat", "float32", [4], "1", "world", "rotation of the IMU, wxyz; turned about the vertical it is the same"
    ),
    TensorSpec("imu_ang_vel", "float32", [3], "rad/s", "imu", "angular velocity in the IMU's own frame"),
    *_BODY[4:],
]
_POSES = [
    TensorSpec("target_body_pos_w", "float32", [], "m", "world", "target body positions, future_frames steps ahead"),
    TensorSpec("target_body_quat_w", "float32", [], "1", "world", "target body rotations, wxyz"),
    TensorSpec("pose_mask", "bool", [], "1", "", "which target bodies count"),
    TensorSpec("reference_joint_pos", "float32", [], "rad", "joint", "reference joint angles one control step ahead"),
    TensorSpec(
        "reference_joint_vel", "float32", [], "rad/s", "joint", "reference joint velocities one control step ahead"
    ),
]
_ONBOARD_NAMES = {spec.name for spec in _ONBOARD}
REFERENCE_INPUTS = ("reference_joint_pos", "reference_joint_vel")
_RECURRENT = [
    TensorSpec("last_action", "float32", [], "1", "joint", "what `next_last_action` was in the step before"),
    TensorSpec("history", "float32", [], "mixed", "heading", "what `next_history` was in the step before"),
    TensorSpec("reset", "bool", [], "1", "", "an episode begins: `history` is replaced by the present"),
]
NEXT_PREFIX = "next_"
"""An output `next_x` is the input `x` of the next step."""
_OUTPUTS = [
    TensorSpec("joint_target", "float32", [], "rad", "joint", "position targets of the joints' PD servos"),
    TensorSpec("next_last_action", "float32", [], "1", "joint", "`last_action` of the next step"),
    TensorSpec("next_history", "float32", [], "mixed", "heading", "`history` of the next step"),
]


def input_specs(
    tokens: Collection[str],
    commands: Sequence[TensorSpec],
    obs_shapes: Mapping[str, Sequence[int]],
    num_bodies: int,
    num_joints: int,
    *,
    reference: Collection[str],
    onboard: bool = False,
) -> list[TensorSpec]:
    """The inputs of a policy.

    Args:
        tokens: the token sets that its actor reads, by their names with the full state.
        commands: the inputs of its modalities, and the mask of the commanded ones.
        obs_shapes: shapes of the observations without the leading N.
        num_bodies: B.
        num_joints: J.
        reference: which of `reference_joint_pos` and `reference_joint_vel` it reads.
        onboard: whether it has onboard sensors: commands are then in the heading frame, `..._h`.
    """
    body = _ONBOARD if onboard else _BODY
    names = [spec.name for spec in (*body, *commands)]
    names += ["target_body_pos_w", "target_body_quat_w"] * bool({"poses", "masked_poses"} & set(tokens))
    names += ["pose_mask"] * ("masked_poses" in tokens) + list(reference)
    names += (
        ["last_action"] * onboard + ["history"] * ("history" in tokens) + ["reset"] * (onboard or "history" in tokens)
    )
    shapes = _shapes(obs_shapes, num_bodies, num_joints, "onboard_history" if onboard else "history")
    every = [*body, *commands, *_POSES, *_RECURRENT]
    specs = [replace(spec, shape=shapes.get(spec.name, spec.shape)) for spec in every if spec.name in names]
    return [in_heading(spec) if onboard and spec.name not in _ONBOARD_NAMES else spec for spec in specs]


def in_heading(spec: TensorSpec) -> TensorSpec:
    """The spec of a world-frame input for onboard sensors: in the heading frame, or for the history in the IMU's frame."""
    if spec.name == "history":
        return replace(spec, frame="imu")
    if spec.frame != "world":
        return spec
    name = f"{spec.name.removesuffix('_w')}_h" if spec.name.endswith("_w") else spec.name
    return replace(spec, name=name, frame="heading")


def output_specs(inputs: Sequence[TensorSpec], num_joints: int) -> list[TensorSpec]:
    """The outputs: joint targets, and the recurrent inputs of the next step."""
    given = {f"{NEXT_PREFIX}{spec.name}": spec for spec in inputs}
    recurrent = [
        replace(spec, shape=given[spec.name].shape, frame=given[spec.name].frame)
        for spec in _OUTPUTS
        if spec.name in given
    ]
    return [replace(_OUTPUTS[0], shape=[num_joints]), *recurrent]


def _shapes(obs_shapes: Mapping[str, Sequence[int]], bodies: int, joints: int, history: str) -> dict[str, list[int]]:
    """Shapes that depend on the robot and on the environment's config. history: name of its observation."""
    frames = list(obs_shapes["poses"][:1]) if "poses" in obs_shapes else []
    return {
        **{name: [joints] for name in ("joint_pos", "joint_vel", "last_action", *REFERENCE_INPUTS)},
        "target_body_pos_w": [*frames, bodies, 3],
        "target_body_quat_w": [*frames, bodies, 4],
        "pose_mask": [*frames, bodies],
        "history": list(obs_shapes.get(history, [])),
    }
