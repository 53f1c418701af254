"""Unitree's messages, byte for byte against the SDK's own Python types and compiled checksum; and any other bytes."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unitree_sdk2py.idl import default
from unitree_sdk2py.utils.crc import CRC

from protege.core.robots.robot import Robot
from protege.deploy.errors import DeployError
from protege.deploy.unitree.cdr import MalformedError, checksum, decode, encode
from protege.deploy.unitree.messages import LOW_COMMAND, LOW_STATE, ODOMETRY, MessageKind
from protege.deploy.unitree.motors import motors_of
from protege.deploy.unitree.remote import BUTTONS, STOP_BUTTONS, Remote

PEER = {
    LOW_COMMAND: default.unitree_hg_msg_dds__LowCmd_,
    LOW_STATE: default.unitree_hg_msg_dds__LowState_,
    ODOMETRY: default.unitree_go_msg_dds__SportModeState_,
}
KINDS = [pytest.param(kind, id=kind.topic) for kind in PEER]


def random_message(kind: MessageKind, seed: int) -> np.ndarray:
    """Any numbers, finite where they are floats, in every member."""
    generator, message = np.random.default_rng(seed), kind.zeros()

    def fill(part: np.ndarray) -> None:
        for name in part.dtype.names or ():
            member = part[name]
            if member.dtype.names:
                fill(member)
            elif member.dtype.kind == "f":
                part[name] = generator.normal(size=member.shape, scale=100.0)
            else:
                limits = np.iinfo(member.dtype)
                part[name] = generator.integers(
                    limits.min, limits.max, size=member.shape, dtype=member.dtype, endpoint=True
                )

    fill(message)
    return message


def as_peer(message: np.ndarray, made: object) -> object:
    """The same numbers in the SDK's type."""
    for name in message.dtype.names or ():
        ours, theirs = message[name], getattr(made, name)
        if ours.dtype.names and ours.shape:
            for one, other in zip(ours, theirs, strict=True):
                as_peer(one, other)
        elif ours.dtype.names:
            as_peer(ours, theirs)
        else:
            setattr(made, name, ours.tolist())
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_sdk_writes_the_same_bytes(kind: MessageKind, seed: int) -> None:
    message = random_message(kind, seed)
    ours = encode(message, kind)
    peer = as_peer(message, PEER[kind]())
    theirs = peer.serialize()  # pyright: ignore[reportAttributeAccessIssue]
    assert theirs.ljust(len(ours), b"\0") == ours
    assert decode(theirs, kind) == message
    if kind.checked:
        assert CRC().Crc(peer) == message["crc"] == checksum(message)


def test_sizes_are_those_of_the_published_structs() -> None:
    assert LOW_COMMAND.dtype.itemsize == 1004 and LOW_STATE.dtype.itemsize == 2092


@given(st.binary(max_size=2200), st.sampled_from(list(PEER)))
def test_random_bytes_are_refused(data: bytes, kind: MessageKind) -> None:
    with pytest.raises(MalformedError):
        decode(data, kind)


@given(st.integers(0, 2**31), st.data(), st.sampled_from([LOW_COMMAND, LOW_STATE]))
def test_a_changed_byte_is_detected_or_is_padding(seed: int, data: st.DataObject, kind: MessageKind) -> None:
    message = random_message(kind, seed)
    wire = bytearray(encode(message, kind))
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(wire), kind)
    except MalformedError:
        return
    assert found == message  # the byte is one of the padding's


@given(st.integers(0, 2**31), st.integers(0, 2091), st.sampled_from(list(PEER)))
def test_a_truncated_message_is_refused(seed: int, left: int, kind: MessageKind) -> None:
    wire = encode(random_message(kind, seed), kind)
    with pytest.raises(MalformedError):
        decode(wire[: min(left, len(wire) - 1)], kind)


def test_the_remote_control_is_packed_and_parsed() -> None:
    remote = Remote.of(struct.pack("<2xHfffff16x", 0x0220, 0.25, -0.5, 0.75, 0.0, 1.0))
    assert remote.buttons == STOP_BUTTONS and remote.left == (0.25, 1.0) and remote.right == (-0.5, 0.75)
    assert Remote.of(bytes(40)) == Remote()
    assert [Remote.of(struct.pack("<2xH36x", 1 << bit)).buttons for bit in range(16)] == [{name} for name in BUTTONS]
    assert (BUTTONS[8], BUTTONS[2]) == ("A", "start")  # 256 and 4 of the published table


@given(st.binary(min_size=40, max_size=40))
def test_any_forty_bytes_parse_as_a_remote_control(data: bytes) -> None:
    remote = Remote.of(data)
    assert all(-1.0 <= value <= 1.0 for value in (*remote.left, *remote.right))
    assert Remote.of(remote.pack()) == remote


def test_motors_are_the_robots_joints(robot: Robot) -> None:
    if robot.name == "smpl":
        with pytest.raises(DeployError, match=r"the order of the motors of 'smpl' is not known\. Known: g1"):
            motors_of(robot.name)
        return
    motors = motors_of(robot.name)
    assert sorted(motors.names) == sorted(robot.joint_names) and motors.imu == robot.body_names[0]
    turned = list(reversed(robot.joint_names))
    assert [motors.names[index] for index in motors.order(turned)] == turned
    with pytest.raises(DeployError, match="moves the joint tail, which no motor"):
        motors.order(["tail"])
