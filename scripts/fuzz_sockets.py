"""Sends invalid and forged packets to the live sockets of a running control loop and viewer, and measures what they change.

    python scripts/fuzz_sockets.py results/onnx --packets 1000000 --target orders

Each target runs with its rightful peer, which is heard throughout. Half of the packets come from a stranger's socket, half from the
peer's own address, as a forger on the network would send them. Batches wait until they are counted, so that they are read and not
lost in the kernel. Wanted: no exception, no forged order or state, no growth of memory.
"""

import json
import multiprocessing
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from protege.deploy.commands.commander import Commander
from protege.deploy.commands.sources.datagrams import pack, parse
from protege.deploy.commands.sources.udp import UdpCommands
from protege.deploy.interface import MEASURED_FIELDS, Command, RobotReading
from protege.deploy.loop.closed_loop import resident_mb
from protege.deploy.loop.loop import ControlLoop, LoopReport
from protege.deploy.network.wire import Codec, PacketKind
from protege.deploy.policy.metadata import load
from protege.deploy.policy.onnx_policy import OnnxPolicy
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.robots.udp import UdpRobot
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety

HERE = ("127.0.0.1", 0)
KEY, WRONG_KEY = b"the key that both sides hold", b"a key that the forger has guessed"
BATCH = 16  # packets: what a run reads of strangers at a time
COUNT_SECONDS = 0.5  # s to wait for a batch to be counted
MESSAGES_PER_CONNECTION = 1000
PEER_PERIOD = 0.005  # s between two packets of the rightful peer


def mutated(packet: bytes, generator: random.Random) -> bytes:
    """A packet of random bytes, or a valid one with flipped, missing or additional bytes."""
    kind, data = generator.randrange(4), bytearray(packet)
    if kind == 0:
        return generator.randbytes(generator.randrange(2000))
    if kind == 1:
        for _ in range(generator.randrange(1, 9)):
            data[generator.randrange(len(data))] ^= generator.randrange(1, 256)
    if kind == 2:
        return bytes(data[: generator.randrange(len(data))])
    return bytes(data) + generator.randbytes(generator.randrange(1, 99)) if kind == 3 else bytes(data)


def flood(
    packets: int, make: Callable[[], bytes], sockets: list[socket.socket], place: Any, dropped: Callable[[], int]
) -> dict[str, float]:
    """Send packets, alternately from each socket. Returns counts, and resident memory after a tenth and at the end."""
    early, sent, counted_before = 0.0, 0, dropped()
    while sent < packets:
        for sender in sockets:
            due = dropped() + BATCH
            for _ in range(BATCH):
                sender.sendto(make(), place)
            sent += BATCH
            end = time.monotonic() + COUNT_SECONDS
            while dropped() < due and time.monotonic() < end:
                time.sleep(1e-4)
        if not early and sent >= packets / 10:
            early = resident_mb() or 0.0
    return {"sent": sent, "counted": dropped() - counted_before, "early_mb": early, "late_mb": resident_mb() or 0.0}


@contextmanager
def repeated(act: Callable[[], None]) -> Iterator[None]:
    """In the block, `act` runs every `PEER_PERIOD` in a thread of its own."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(PEER_PERIOD):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def running(loop: ControlLoop, reports: list[LoopReport]) -> Iterator[None]:
    """In the block, the loop runs in a thread of its own; its report is added to the list."""
    thread = threading.Thread(target=lambda: reports.append(loop.run()))
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join()


def fuzz_orders(folder: Path, packets: int, key: bytes | None) -> dict[str, Any]:
    """The commander's socket, while a simulated robot walks: forged orders ask for 0.1 m/s, the commander for 0.4."""
    generator, policy = random.Random(0), OnnxPolicy(folder)
    commander, speeds = Commander(policy), set[float | None]()
    loop = ControlLoop(policy, MujocoRobot(folder, standing=True), commander, policy.metadata.control_dt)
    loop.on_step = lambda step: speeds.add(step.command.steering_speed if step.command else None)
    reports, sequence, session = list[LoopReport](), 0, ""
    with UdpCommands(HERE, commander, key) as source, running(loop, reports):
        peer, stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        peer.setblocking(False)

        def say() -> None:
            nonlocal sequence, session
            try:
                while True:  # answers, which name the session
                    answer = peer.recv(65536)
                    session = json.loads(answer[answer.index(b"{") :]).get("session", session)
            except BlockingIOError:
                pass
            sequence += 1
            order = {"steering": {"speed": 0.4}}
            own = {"session": session} if key else {}
            peer.sendto(pack({"sequence": sequence, **own, "order": order}, key), source.endpoint.address)

        def forged() -> bytes:
            message = {"sequence": sequence + 1, "order": {"steering": {"speed": 0.1}}}
            valid = pack(message | ({"session": session} if key else {}), WRONG_KEY if key else None)
            if key and generator.random() < 0.3:
                return valid
            # Without a key who sends a valid order from the peer's address is the peer.
            while not isinstance(parse(packet := mutated(valid, generator), key), str):
                pass
            return packet

        with repeated(say):
            time.sleep(0.5)
            result = flood(
                packets,
                forged,
                [stranger, peer],
                source.endpoint.address,
                lambda: sum(source.endpoint.dropped.values()),
            )
            time.sleep(0.2)
        result |= {"forged": len(speeds - {None, 0.0, 0.4}), "dropped": dict(source.endpoint.dropped)}
        peer.close()
        stranger.close()
    return result | {"obeyed": 0.4 in speeds, "steps": reports[0].steps, "event": reports[0].event}


def fuzz_states(folder: Path, packets: int, key: bytes | None) -> dict[str, Any]:
    """The robot's socket: forged states measure 0.5 rad more at the first joint, which the loop's policy looks at."""
    generator, metadata = random.Random(0), load(folder)
    standing = MujocoRobot(folder, standing=True).read()
    codec, forger = Codec(metadata.joint_names, key), Codec(metadata.joint_names, WRONG_KEY if key else None)
    place = free_place()
    peer, stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    peer.setblocking(False)
    sequence, angles, reports = 0, set[float](), list[LoopReport]()

    def packet(of: Codec, shift: float) -> bytes:
        joints = standing.joint_pos + shift * np.eye(metadata.num_joints)[0] + 1e-6 * np.sin(sequence)
        fields = [joints if name == "joint_pos" else getattr(standing, name) for name in MEASURED_FIELDS]
        return of.pack(PacketKind.STATE, sequence, 0.0, fields)

    def say() -> None:
        nonlocal sequence
        try:
            while True:
                codec.peer_session = codec.unpack(peer.recv(65536)).session
        except (BlockingIOError, ConnectionError):
            pass
        sequence += 1
        peer.sendto(packet(codec, 0.0), place)

    def forged() -> bytes:
        valid = packet(forger, 0.5)
        return valid if key and generator.random() < 0.3 else mutated(valid, generator)

    class Hold:
        def reset(self) -> None: ...

        def act(self, reading: RobotReading, command: Command) -> np.ndarray:
            angles.add(round(float(reading.joint_pos[0] - standing.joint_pos[0]), 3))
            return standing.joint_pos

    with repeated(say):
        robot = UdpRobot(place, metadata, key=key)
        safety = Safety(Limits.off(), metadata)
        loop = ControlLoop(Hold(), robot, lambda time, reading: Command(), metadata.control_dt, safety=safety)
        with running(loop, reports):
            result = flood(packets, forged, [stranger, peer], place, lambda: sum(robot.dropped.values()))
        result |= {"forged": len(angles - {0.0}), "dropped": robot.dropped, "obeyed": 0.0 in angles}
        robot.close()
    peer.close()
    stranger.close()
    return result | {"steps": reports[0].steps, "event": reports[0].event}


def strange(generator: random.Random) -> bytes:
    """A message as a browser sends it, about a control or a handle that does not exist, with extreme values."""
    from msgspec import msgpack

    def odd() -> float:
        return generator.choice([0.0, -1.0, 1e300, float("nan"), float("inf"), generator.uniform(-9.0, 9.0)])

    name, three, four = f"{generator.random()}", [odd() for _ in range(3)], [odd() for _ in range(4)]
    camera = {"wxyz": four, "position": three, "look_at": three, "up_direction": three}
    lens = {"fov": odd(), "near": odd(), "far": odd(), "image_height": 9, "image_width": 9}
    fields = {
        "GuiUpdateMessage": {"uuid": name, "updates": {"value": generator.choice([odd(), name, three, None])}},
        "TransformControlsUpdateMessage": {"name": name, "wxyz": four, "position": three},
        "TransformControlsDragStartMessage": {"name": name},
        "ViewerCameraMessage": {**camera, **lens},
    }
    kind = generator.choice(list(fields))
    return msgpack.encode({"type": kind, **fields[kind]})


def flood_page(url: str, packets: int, seed: int) -> tuple[int, int]:
    """Send strange messages to a websocket, and end each connection with an invalid one: the viewer then closes it.

    Returns:
        how many were sent, and connections that were ended.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    generator, sent, refused = random.Random(seed), 0, 0
    while sent < packets:
        try:
            with connect(url, max_size=None, subprotocols=[_protocol()]) as link:
                for _ in range(min(MESSAGES_PER_CONNECTION, packets - sent) - 1):
                    sent += 1
                    link.send(strange(generator))
                sent += 1
                link.send(mutated(strange(generator), generator))
                link.send(b"\xc1")  # no type of msgpack: having read everything, the viewer ends the connection
                for _ in link:
                    pass
        except (WebSocketException, OSError):
            refused += 1
    return sent, refused


def fuzz_page(folder: Path, packets: int, key: bytes | None = None) -> dict[str, Any]:
    """The viewer's websocket: strange, random and truncated messages, from a process of its own."""
    from protege.deploy.viewer.serve import Viewer

    few = max(packets // 10, 1)
    with (
        Viewer({"student": folder}, port=0) as viewer,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        threading.Thread(target=viewer.run, daemon=True).start()
        before, url = viewer.controls.speed, viewer.url.replace("http", "ws")
        first = pool.submit(flood_page, url, few, 0).result()
        early = resident_mb() or 0.0
        second = pool.submit(flood_page, url, max(packets - few, 1), 1).result()
        sent, refused = first[0] + second[0], first[1] + second[1]
        at = viewer.simulation.frame.index if viewer.simulation.frame else 0
        time.sleep(1.0)
        steps = (viewer.simulation.frame.index if viewer.simulation.frame else 0) - at
        result = {"forged": int(viewer.controls.speed != before), "obeyed": steps > 0, "event": viewer.simulation.error}
    return {
        "sent": sent,
        "refused": refused,
        "steps": steps,
        "early_mb": early,
        "late_mb": resident_mb() or 0.0,
        **result,
    }


def fuzz_dds(folder: Path, packets: int, key: bytes | None = None) -> dict[str, Any]:
    """The states of a G1 over DDS: of a stranger, with a wrong checksum, and valid ones that measure 0.5 rad more.

    The stranger and the G1 are processes of their own, so that neither slows the robot's threads down.
    """
    from protege.deploy.unitree.robot import UnitreeRobot

    domain, angles = 30 + os.getpid() % 190, set[float]()
    processes = multiprocessing.get_context("spawn")
    ended = processes.Event()
    peer = processes.Process(target=_rightful_g1, args=(domain, ended), daemon=True)
    stranger = processes.Process(target=_forge_states, args=(domain, packets), daemon=True)
    peer.start()
    robot = UnitreeRobot("lo", load(folder), domain=domain)
    stranger.start()
    early, reads = 0.0, 0
    while stranger.is_alive():
        angles.add(round(float(robot.read().joint_pos[0]), 3))
        time.sleep(PEER_PERIOD)
        reads += 1
        early = resident_mb() or 0.0 if reads == round(1.0 / PEER_PERIOD) else early
    late, stopped = resident_mb() or 0.0, robot.stopped
    robot.close()
    ended.set()
    for process in (peer, stranger):
        process.join()
    if stranger.exitcode:
        raise ChildProcessError(f"the stranger ended with exit code {stranger.exitcode}")
    return {
        "sent": packets, "early_mb": early or late, "late_mb": late, "forged": len(angles - {0.0}), "dropped": robot.dropped,
        "obeyed": 0.0 in angles, "event": stopped or None,
    }  # fmt: skip


def _rightful_g1(domain: int, ended: Any) -> None:
    """Publish valid states until `ended` is set."""
    from protege.deploy.unitree.bus import Bus
    from protege.deploy.unitree.messages import LOW_STATE, ODOMETRY

    bus, state, place = Bus("lo", domain), LOW_STATE.zeros(), ODOMETRY.zeros()
    state["imu_state"]["quaternion"] = 1.0, 0.0, 0.0, 0.0
    while not ended.wait(PEER_PERIOD):
        state["tick"] += 1
        bus.publish(state, LOW_STATE)
        bus.publish(place, ODOMETRY)
    bus.close()


def _forge_states(domain: int, packets: int) -> None:
    """Publish forged states, half of them with a wrong byte."""
    from protege.deploy.unitree.bus import Bus
    from protege.deploy.unitree.cdr import encode
    from protege.deploy.unitree.messages import LOW_STATE

    generator, bus, forged = random.Random(0), Bus("lo", domain), LOW_STATE.zeros()
    forged["imu_state"]["quaternion"] = 1.0, 0.0, 0.0, 0.0
    forged["motor_state"]["q"] = 0.5
    valid = encode(forged, LOW_STATE)
    for sent in range(packets):
        data = bytearray(valid)
        if sent % 2:
            data[generator.randrange(4, len(data))] ^= generator.randrange(1, 256)
        bus.publish_bytes(bytes(data), LOW_STATE)
        if sent % BATCH == 0:
            time.sleep(1e-3)
    bus.close()


def _protocol() -> Any:
    import viser

    return f"viser-v{viser.__version__}"


def free_place() -> tuple[str, int]:
    """A free port of this machine's loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(HERE)
        return probe.getsockname()


TARGETS: dict[str, tuple[Callable[[Path, int, bytes | None], dict[str, Any]], bytes | None]] = {
    "orders": (fuzz_orders, None), "orders, key": (fuzz_orders, KEY), "states": (fuzz_states, None),
    "states, key": (fuzz_states, KEY), "dds": (fuzz_dds, None), "page": (fuzz_page, None),
}  # fmt: skip
"""Targets by name: what fuzzes them, and their key."""
ROBOTS_ON_DDS = ("g1",)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--packets", default=200_000, show_default=True, help="to each target")
@click.option("--target", "targets", type=click.Choice(list(TARGETS)), multiple=True, help="repeatable; default: all")
def main(folder: Path, packets: int, targets: tuple[str, ...]) -> None:
    """Fuzz the live sockets of a run and a viewer with the student exported to FOLDER."""
    for name in targets or TARGETS:
        if name == "dds" and load(folder).robot not in ROBOTS_ON_DDS:
            continue
        fuzz, key = TARGETS[name]
        start = time.monotonic()
        result = fuzz(folder, packets, key) | {"seconds": round(time.monotonic() - start)}
        click.echo(f"{name:<12} " + "  ".join(f"{what} {value}" for what, value in result.items()))


if __name__ == "__main__":
    main()
