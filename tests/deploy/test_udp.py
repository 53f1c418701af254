"""Robots and commanders at the other end of real sockets, well-behaved and not."""

import json
import random
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import STANDING, FakePolicy, metadata, nothing, state_packet

from protege.deploy.cli.main import main
from protege.deploy.commands.commander import Commander
from protege.deploy.commands.sources.udp import UdpCommands
from protege.deploy.errors import DeployError
from protege.deploy.interface import Command, Mode
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.network.endpoint import Endpoint, parse_address
from protege.deploy.network.wire import Codec, PacketKind
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.robots.udp import UdpRobot
from protege.deploy.runtime import OnnxPolicy
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety

ANY = ("127.0.0.1", 0)
CODEC = Codec(metadata().joint_names)
EXAMPLE = Path(__file__).parents[2] / "packages" / "deploy" / "examples" / "udp_robot.py"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(ANY)
        return probe.getsockname()[1]


def peer(place: tuple[str, int]) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(place)
    client.settimeout(10.0)
    return client


@pytest.fixture
def link() -> Iterator[tuple[UdpRobot, socket.socket]]:
    """A robot of two joints that has sent its state once, as sequence 10."""
    place = ("127.0.0.1", free_port())
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(ANY)
    client.settimeout(10.0)
    done = threading.Event()

    def call() -> None:
        while not done.wait(0.01):
            client.sendto(state_packet(CODEC, 10, 0.0, STANDING), place)

    thread = threading.Thread(target=call)
    thread.start()
    robot = UdpRobot(place, metadata())
    done.set()
    thread.join()
    client.connect(place)
    robot.read()
    robot.endpoint.dropped.clear()  # it called more than once
    yield robot, client
    robot.close()
    client.close()


def settle(condition: Callable[[], bool]) -> None:
    """Datagrams on one machine arrive in no time, but not in none."""
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(1e-3)


# The robot ---------------------------------------------------------------------------------------------------------------


def test_a_reading_is_the_newest_state(link: tuple[UdpRobot, socket.socket]) -> None:
    robot, client = link
    for k in range(11, 15):
        client.send(state_packet(CODEC, k, 0.0, replace(STANDING, joint_pos=np.array([k / 100, 0.0]))))
    settle(lambda: robot.read().stamp == 14)
    assert robot.read().joint_pos[0] == pytest.approx(0.14) and robot.dropped == {}
    np.testing.assert_allclose(robot.read().root_pos_w, STANDING.root_pos_w)


def test_a_target_packet_contains_gains_and_validity(link: tuple[UdpRobot, socket.socket]) -> None:
    robot, client = link
    robot.write(np.array([0.25, -0.5]))
    robot.write(np.array([0.25, -0.5]), Mode.DAMPING)
    first, second = CODEC.unpack(client.recv(2000)), CODEC.unpack(client.recv(2000))
    np.testing.assert_allclose(first.values, [0.06, 0.25, -0.5, 100.0, 100.0, 10.0, 10.0])
    np.testing.assert_allclose(second.values, [0.06, 0.25, -0.5, 0.0, 0.0, 10.0, 10.0])
    assert (first.mode, second.mode) == (Mode.CONTROL, Mode.DAMPING) and second.sequence == first.sequence + 1


def test_the_end_of_a_run_leaves_the_robot_damping(link: tuple[UdpRobot, socket.socket]) -> None:
    robot, client = link
    robot.close()
    assert [CODEC.unpack(client.recv(2000)).mode for _ in range(3)] == [Mode.DAMPING] * 3
    robot.close()  # once more does no harm


def test_old_duplicate_and_foreign_packets_are_counted_and_dropped(link: tuple[UdpRobot, socket.socket]) -> None:
    robot, client = link
    for data in (
        state_packet(CODEC, 10, 0.0, STANDING),
        state_packet(CODEC, 9, 0.0, STANDING),
        state_packet(CODEC, 2**32 - 5, 0.0, STANDING),
        CODEC.pack(PacketKind.REFUSAL, 11, 0.0, []),
        state_packet(Codec(["hip", "knee"]), 11, 0.0, STANDING),
        b"x" * 5000,
        b"",
        state_packet(CODEC, 11, 0.0, STANDING)[:-1] + b"!",
    ):
        client.send(data)
    client.send(state_packet(CODEC, 12, 0.0, STANDING))
    settle(lambda: robot.read().stamp == 12)
    assert robot.dropped == {"duplicate": 1, "old": 2, "kind": 1, "joints": 1, "size": 2, "checksum": 1}


def test_a_second_robot_is_refused(link: tuple[UdpRobot, socket.socket], caplog: pytest.LogCaptureFixture) -> None:
    robot, client = link
    second = peer(robot.endpoint.address)
    for k in range(100, 150):
        second.send(state_packet(CODEC, k, 0.0, replace(STANDING, joint_pos=np.array([9.0, 9.0]))))
    settle(lambda: robot.read().stamp == 10 and robot.dropped.get("stranger") == 50)
    assert CODEC.unpack(second.recv(2000)).kind is PacketKind.REFUSAL
    [line] = [record.getMessage() for record in caplog.records]
    assert "is refused" in line and f":{client.getsockname()[1]} is locked in" in line
    robot.write(STANDING.joint_pos)
    assert CODEC.unpack(client.recv(2000)).kind is PacketKind.TARGET
    second.close()


def garbage(generator: random.Random, sequence: int) -> bytes:
    """Random bytes, packets with random changes, cut or lengthened, and old ones."""
    packet = bytearray(state_packet(CODEC, sequence, generator.random(), STANDING))
    kind = generator.randrange(5)
    if kind == 0:
        return generator.randbytes(generator.randrange(2000))
    if kind == 1:
        return b"PRTG" + generator.randbytes(generator.randrange(200))
    if kind == 2:
        for _ in range(generator.randrange(1, 9)):
            packet[generator.randrange(len(packet))] ^= generator.randrange(1, 256)
    if kind == 3:
        return bytes(packet[: generator.randrange(len(packet))])
    if kind == 4:
        packet += generator.randbytes(generator.randrange(1, 100))
    return bytes(packet)


def test_a_hundred_thousand_random_packets(link: tuple[UdpRobot, socket.socket]) -> None:
    robot, client = link
    generator, sent, memory = random.Random(0), 0, list[int]()
    tracemalloc.start()
    for _ in range(10):
        for _ in range(200):
            for _ in range(50):
                client.send(garbage(generator, 20))
            robot.read()
            sent += 50
        memory.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sent == 100_000
    # Reads of 256 keep up with batches of 50 on one machine: nothing stays in the socket.
    settle(lambda: robot.read() is not None and sum(robot.dropped.values()) == sent)
    assert set(robot.dropped) <= {"size", "magic", "version", "kind", "joints", "checksum"}
    assert memory[-1] - memory[1] < 20_000, memory
    # And still it listens to its robot.
    assert robot.read().stamp == 10
    client.send(state_packet(CODEC, 11, 0.0, STANDING))
    settle(lambda: robot.read().stamp == 11)


def test_a_missing_robot_is_a_one_line_error() -> None:
    with pytest.raises(DeployError, match=r"no robot on UDP 127\.0\.0\.1:\d+ within 0\.05 s; nothing came"):
        UdpRobot(ANY, metadata(), wait=0.05)


def test_another_robot_is_a_one_line_error() -> None:
    place = ("127.0.0.1", free_port())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        done = threading.Event()

        def call() -> None:
            while not done.wait(0.01):
                client.sendto(state_packet(Codec(["hip", "knee"]), 0, 0.0, STANDING), place)

        thread = threading.Thread(target=call)
        thread.start()
        with pytest.raises(DeployError, match=r"received and discarded: \d+ joints"):
            UdpRobot(place, metadata(), wait=0.3)
        done.set()
        thread.join()


def test_a_port_in_use_is_a_one_line_error() -> None:
    first = Endpoint(ANY, 100)
    with pytest.raises(
        DeployError, match=rf"cannot listen on UDP 127\.0\.0\.1:{first.address[1]} \(Address already in use\)"
    ):
        UdpRobot(first.address, metadata())
    first.close()
    with pytest.raises(DeployError, match=r"cannot listen on UDP 192\.0\.2\.1:0"):
        Endpoint(("192.0.2.1", 0), 100, keyed=True)


def test_addresses_are_parsed() -> None:
    assert parse_address("47800", "--robot") == ("127.0.0.1", 47800)
    assert parse_address("0.0.0.0:9", "--robot") == ("0.0.0.0", 9)
    for text in ("", "x", "1:2:x", "-1", "65536", "²"):
        with pytest.raises(DeployError, match="is no address"):
            parse_address(text, "--robot")


def test_a_walk_over_the_wire_is_the_walk_in_one_process(exported: Path) -> None:
    """State and targets are what the policy and the servos see anyway: float32."""
    direct, far = MujocoRobot(exported), MujocoRobot(exported)
    codec, port, steps = Codec(direct.metadata.joint_names), free_port(), 10

    done = threading.Event()

    def live() -> None:
        client, newest = peer(("127.0.0.1", port)), -1
        client.settimeout(0.01)
        for step in range(steps):
            packet = None
            while packet is None or packet.sequence <= newest:
                with suppress(TimeoutError, ConnectionRefusedError):  # nobody listens yet, or has an answer
                    client.send(state_packet(codec, step, 0.0, far.read()))
                    packet = codec.unpack(client.recv(2000))
            newest = packet.sequence
            far.write(packet.values[1 : 1 + codec.num_joints])
        while not done.wait(0.01):
            client.send(state_packet(codec, steps, 0.0, far.read()))
        client.close()

    thread = threading.Thread(target=live)
    thread.start()
    robot = UdpRobot(("127.0.0.1", port), direct.metadata)
    here, there = OnnxPolicy(exported), OnnxPolicy(exported)
    command = Command(steering_direction_w=np.array([1.0, 0.0]), steering_speed=1.0)
    for step in range(steps):
        settle(lambda step=step: robot.read().stamp == step)
        direct.write(here.act(direct.read(), command))
        robot.write(there.act(robot.read(), command))
    settle(lambda: robot.read().stamp == steps)
    done.set()
    thread.join()
    robot.close()
    np.testing.assert_array_equal(far.data.qpos, direct.data.qpos)


def test_a_silent_robot_process_ends_in_damping(link: tuple[UdpRobot, socket.socket]) -> None:
    robot, client = link
    safety = Safety(Limits.off().changed(["frozen_time=0.06"]), metadata())
    report = ControlLoop(FakePolicy(), robot, nothing, 0.02, safety=safety).run(6)
    modes = [CODEC.unpack(client.recv(2000)).mode for _ in range(6)]
    assert modes == [Mode.CONTROL] * 3 + [Mode.DAMPING] * 3
    assert report.event is not None and report.event.cause == "frozen"


@pytest.mark.parametrize("keyed", [False, True])
def test_the_example_robot_runs_with_the_command_line(keyed: bool, exported: Path, tmp_path: Path) -> None:
    port, report, key = free_port(), tmp_path / "report.json", tmp_path / "udp.key"
    key.write_text("a key that both sides hold\n")
    key.chmod(0o600)
    words = [sys.executable, str(EXAMPLE), str(exported / "policy.json"), "127.0.0.1", str(port), *[str(key)] * keyed]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as example:
        options = ["--task", "steering", "--speed", "0", "--seconds", "0.5", "--no-safety", "--report", str(report)]
        options += ["--key-file", str(key)] * keyed
        done = CliRunner().invoke(main, ["run", str(exported), "--robot", f"udp:{port}", *options])
        assert example.poll() is None
        example.terminate()
    assert done.exit_code == 0, done.output
    result = json.loads(report.read_text())
    assert result["loop"]["steps"] == 15 and result["loop"]["damped_steps"] == 0 and result["stood"]
    assert set(result["dropped"]) == ({"introduction"} if keyed else set())


# The commander -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def commands(exported: Path) -> Iterator[tuple[Commander, UdpCommands, socket.socket]]:
    commander = Commander(OnnxPolicy(exported))
    with UdpCommands(ANY, commander) as source:
        client = peer(source.endpoint.address)
        yield commander, source, client
        client.close()


def say(client: socket.socket, message: object) -> dict:
    client.send(json.dumps(message).encode())
    return json.loads(client.recv(2000))


def test_orders_are_obeyed_and_answered(commands: tuple[Commander, UdpCommands, socket.socket], exported: Path) -> None:
    commander, source, client = commands
    here = MujocoRobot(exported).read()
    assert say(client, {"sequence": 1, "order": {"path": {"speed": 1.0}}}) == {"sequence": 1}
    commander(0.0, here)
    assert commander.modes == ("path",)
    answer = say(client, {"sequence": 2, "order": {"sterring": {}}})
    assert answer == {"sequence": 2, "error": "unknown mode 'sterring'. Did you mean steering?"}
    assert say(client, {"sequence": 3}) == {"sequence": 3}
    answer = say(client, {"sequence": 4, "order": {"motion": {"clip": "/etc/passwd"}}})
    assert "is a path" in answer["error"]
    assert say(client, {"sequence": 5, "order": {"goal": {"point": [1, 0]}, "steering": {}}}) == {"sequence": 5}
    commander(0.1, here)
    assert commander.modes == ("goal", "steering") and dict(source.endpoint.dropped) == {"refused": 2}


def test_a_second_commander_is_refused(commands: tuple[Commander, UdpCommands, socket.socket]) -> None:
    _, source, client = commands
    say(client, {"sequence": 1})
    second = peer(source.endpoint.address)
    assert say(second, {"sequence": 1, "order": {"path": {}}}) == {
        "sequence": 1,
        "error": "another commander is locked in",
    }
    assert say(client, {"sequence": 2}) == {"sequence": 2} and source.endpoint.dropped["stranger"] == 1
    second.close()


def test_a_killed_commander_ends_in_damping(
    commands: tuple[Commander, UdpCommands, socket.socket], exported: Path
) -> None:
    commander, _, client = commands
    say(client, {"sequence": 1, "order": {"steering": {"speed": 1.0}}})
    client.close()
    policy, robot = OnnxPolicy(exported), MujocoRobot(exported)
    limits = Limits.off().changed(["silence=0.2"])
    loop = ControlLoop(policy, robot, commander, 1 / 30, safety=Safety(limits, policy.metadata))
    loop.on_step = lambda step: loop.stop() if step.mode is Mode.DAMPING else None
    report = loop.run(300)
    assert report.event is not None and report.event.cause == "silence" and report.damped_steps == 1
    assert report.event.values["silence"] > 0.2


def test_random_datagrams_are_counted_and_dropped(commands: tuple[Commander, UdpCommands, socket.socket]) -> None:
    _, source, client = commands
    say(client, {"sequence": 10})
    nonsense = [
        b"", b"{", b"[1]", b"[" * 8000, b"{" * 9000, b'{"sequence": 11, "odour": 1}', b'{"sequence": -1}', b'{"sequence": 1e3}',
        b'{"sequence": true}', b'{"order": {}}', b'{"sequence": 10}', b'{"sequence": 3}', b"\xff\xfe", b"9" * 8000, b"null",
    ]  # fmt: skip
    for data in nonsense:
        client.send(data)
    settle(lambda: sum(source.endpoint.dropped.values()) == len(nonsense))
    assert source.endpoint.dropped == {"json": 8, "size": 1, "sequence": 4, "duplicate": 1, "old": 1}
    generator, count = random.Random(0), len(nonsense)
    for _ in range(40):
        for _ in range(50):
            client.send(bytes(generator.choices(b'{}[]",:0123456789seqncordpath.\\u \xff', k=generator.randrange(60))))
        count += 50
        settle(lambda count=count: sum(source.endpoint.dropped.values()) == count)
    assert say(client, {"sequence": 11}) == {"sequence": 11}
