"""Access control: forged, recorded, repeated and invalid packets on real sockets, with and without a key."""

import hmac
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import STANDING, metadata, state_packet
from test_udp import ANY, free_port, peer, settle

from protege.deploy.cli.main import main
from protege.deploy.commands.commander import Commander
from protege.deploy.commands.sources.datagrams import pack
from protege.deploy.commands.sources.udp import UdpCommands
from protege.deploy.errors import DeployError
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.network import endpoint
from protege.deploy.network.endpoint import Endpoint
from protege.deploy.network.wire import Codec, PacketKind
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.robots.udp import UdpRobot
from protege.deploy.runtime import OnnxPolicy

KEY, ANOTHER = b"a key that both sides hold", b"a key that nobody else holds"
NAMES = metadata().joint_names


def joined(robot_side: Codec, client: socket.socket, place: tuple[str, int], **options) -> UdpRobot:
    """A run, opened while a robot's program introduces itself at the place, as sequence 10."""
    client.settimeout(0.01)
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            client.sendto(state_packet(robot_side, 10, 0.0, STANDING), place)
            try:
                packet = robot_side.unpack(client.recv(2000))
            except OSError:
                continue
            if packet.kind is PacketKind.GREETING:
                robot_side.peer_session = packet.session

    thread = threading.Thread(target=call)
    thread.start()
    try:
        return UdpRobot(place, metadata(), **options)
    finally:
        done.set()
        thread.join()
        client.settimeout(10.0)


@pytest.fixture(params=[None, KEY], ids=["plain", "keyed"])
def link(request: pytest.FixtureRequest) -> Iterator[tuple[UdpRobot, Codec, socket.socket]]:
    """A run, and its robot's codec and socket, which has sent its state as sequence 10."""
    place, codec, client = ("127.0.0.1", free_port()), Codec(NAMES, request.param), bound()
    robot = joined(codec, client, place, key=request.param)
    robot.read()
    robot.endpoint.dropped.clear()
    yield robot, codec, client
    robot.close()
    client.close()


def bound() -> socket.socket:
    """A robot's socket."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(ANY)
    return client


def state(codec: Codec, sequence: int, knee: float) -> bytes:
    return state_packet(codec, sequence, 0.0, replace(STANDING, joint_pos=np.array([knee, 0.0])))


# The robot ---------------------------------------------------------------------------------------------------------------


def test_repeated_old_and_far_states_are_refused(link: tuple[UdpRobot, Codec, socket.socket]) -> None:
    robot, codec, client = link
    recorded = state(codec, 11, 0.1)
    for data in (recorded, recorded, state(codec, 9, 0.9), state(codec, 11 + 1001, 0.9), state(codec, 11 + 2**30, 0.9)):
        client.sendto(data, robot.endpoint.address)
    client.sendto(state(codec, 12, 0.2), robot.endpoint.address)
    settle(lambda: robot.read().stamp == 12)
    assert robot.read().joint_pos[0] == pytest.approx(0.2)
    assert robot.dropped == {"duplicate": 1, "old": 1, "jump": 2}


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_dropped(broken: float, link: tuple[UdpRobot, Codec, socket.socket]) -> None:
    robot, codec, client = link
    client.sendto(state(codec, 11, broken), robot.endpoint.address)
    settle(lambda: robot.read() is not None and robot.dropped == {"not finite": 1})
    assert robot.read().stamp == 10 and robot.read().joint_pos[0] == 0.5


def test_a_flood_of_strangers_does_not_reach_the_robots_socket(link: tuple[UdpRobot, Codec, socket.socket]) -> None:
    robot, codec, client = link
    with peer(robot.endpoint.address) as stranger:
        for _ in range(5000):  # more than its buffer holds
            stranger.send(os.urandom(600))
        client.sendto(state(codec, 11, 0.25), robot.endpoint.address)
        assert robot.read().joint_pos[0] == 0.25
        assert sum(robot.dropped.values()) == endpoint.MAX_STRANGER_DATAGRAMS


def test_a_forged_state_is_refused() -> None:
    place, codec, client = ("127.0.0.1", free_port()), Codec(NAMES, KEY), bound()
    robot = joined(codec, client, place, key=KEY)
    forger = Codec(NAMES, ANOTHER)
    # It has listened, and sends from the robot's own socket.
    forger.session, forger.peer_session = codec.session, robot.codec.session
    robot.endpoint.dropped.clear()
    for data in (state(forger, 11, 0.9), state(Codec(NAMES), 11, 0.9), state(codec, 11, 0.9)[:60]):
        client.sendto(data, place)
    client.sendto(state(codec, 11, 0.1), place)
    settle(lambda: robot.read().stamp == 11)
    assert robot.read().joint_pos[0] == pytest.approx(0.1)
    assert robot.dropped == {"signature": 1, "version": 1, "size": 1}
    robot.close()
    client.close()


def test_a_recording_of_an_earlier_run_is_refused() -> None:
    place, codec, client = ("127.0.0.1", free_port()), Codec(NAMES, KEY), bound()
    joined(codec, client, place, key=KEY).close()
    recorded = [state(codec, k, 0.9) for k in range(11, 16)]
    codec = Codec(NAMES, KEY)
    robot = joined(codec, client, place, key=KEY)
    robot.endpoint.dropped.clear()
    for data in recorded:
        client.sendto(data, place)
    client.sendto(state(codec, 11, 0.1), place)
    settle(lambda: robot.read().stamp == 11)
    assert robot.dropped["introduction"] >= 5 and robot.read().joint_pos[0] == pytest.approx(0.1)
    robot.close()
    client.close()


def test_a_restarted_robot_is_accepted_again(
    link: tuple[UdpRobot, Codec, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    robot, codec, _ = link
    monkeypatch.setattr(endpoint, "PEER_TIMEOUT", 0.05)
    again, key = Codec(NAMES, codec._key), codec._key
    with bound() as client:  # another port, and a sequence from the beginning
        client.settimeout(10.0)
        time.sleep(0.06)
        if key:
            client.sendto(state(again, 0, 0.3), robot.endpoint.address)
            settle(lambda: robot.read() is not None and robot.dropped.get("introduction") == 1)
            again.peer_session = again.unpack(client.recv(2000)).session
        client.sendto(state(again, 1, 0.3), robot.endpoint.address)
        settle(lambda: robot.read().stamp == 1)
        assert robot.endpoint.peer == client.getsockname()
        robot.write(STANDING.joint_pos)
        assert again.unpack(client.recv(2000)).kind is PacketKind.TARGET
        # The first program's session has ended, also for recordings of it.
        if key:
            client.sendto(state(codec, 11, 0.9), robot.endpoint.address)
            settle(lambda: robot.read() is not None and robot.dropped.get("old") == 1)
            assert robot.read().stamp == 1


def test_without_a_key_only_loopback_can_be_bound(exported: Path) -> None:
    for option, place in (("--robot", "udp:0.0.0.0:0"), ("--commands", "udp:0.0.0.0:0")):
        done = CliRunner().invoke(main, ["run", str(exported), option, place, "--seconds", "0.1"])
        assert done.exit_code == 2, done.output
        assert done.output.startswith("error: UDP on 0.0.0.0:0 takes orders from the network, and there is no key")
        assert "--key-file FILE or PROTEGE_UDP_KEY" in done.output
    Endpoint(("0.0.0.0", 0), 100, keyed=True).close()
    with pytest.raises(DeployError, match=r"cannot find the host no\.such\.host\.invalid"):
        Endpoint(("no.such.host.invalid", 0), 100)


# The commander -----------------------------------------------------------------------------------------------------------


class Client:
    """Commands a run, from a socket of its own."""

    def __init__(self, place: tuple[str, int], key: bytes | None) -> None:
        self.socket, self.key, self.sequence, self.session = peer(place), key, 0, {}

    def send(self, sequence: int | None = None, **message) -> bytes:
        self.sequence = self.sequence + 1 if sequence is None else sequence
        data = pack({"sequence": self.sequence, **self.session, **message}, self.key)
        self.socket.send(data)
        return data

    def say(self, sequence: int | None = None, **message) -> str:
        """Send, and what is wrong with it."""
        self.send(sequence, **message)
        data = self.socket.recv(2000)
        if self.key is not None:
            head, tagged, text = data.split(b" ", 2)
            assert head == b"PRTG2" and tagged == hmac.digest(self.key, text, "sha256").hex().encode()
            data = text
        answer = json.loads(data)
        assert answer["sequence"] == self.sequence and ("session" in answer) == (self.key is not None)
        self.session = {key: answer[key] for key in ("session",) if key in answer}
        return answer.get("error", "")


@pytest.fixture(params=[None, KEY], ids=["plain", "keyed"])
def run(request: pytest.FixtureRequest, exported: Path) -> Iterator[tuple[Commander, UdpCommands, Client]]:
    """A commander, its source, and a client; with a key the client knows the session."""
    commander = Commander(OnnxPolicy(exported))
    with UdpCommands(ANY, commander, request.param) as source:
        client = Client(source.endpoint.address, request.param)
        if request.param:
            assert client.say() == "name this session in each datagram"
            source.endpoint.dropped.clear()
        assert client.say(order={"path": {"speed": 1.0}}) == ""
        yield commander, source, client
        client.socket.close()


@pytest.fixture
def here(exported: Path) -> Callable[[Commander], tuple[str, ...]]:
    """The modes that a commander follows now."""
    reading = MujocoRobot(exported).read()

    def modes(commander: Commander) -> tuple[str, ...]:
        commander(0.0, reading)
        return commander.modes

    return modes


def test_orders_repeated_old_and_far_are_refused(run: tuple[Commander, UdpCommands, Client], here: Callable) -> None:
    commander, source, client = run
    goal = {"goal": {"point": [1, 0]}}
    recorded = client.send(20, order={})
    client.socket.recv(2000)
    client.socket.send(recorded)
    client.send(3, order=goal)
    client.send(20 + 1001, order=goal)
    client.send(2**53 - 1, order=goal)
    settle(lambda: sum(source.endpoint.dropped.values()) == 4)
    assert here(commander) == ("steering",) and dict(source.endpoint.dropped) == {"duplicate": 1, "old": 1, "jump": 2}
    assert client.say(21, order=goal) == "" and here(commander) == ("goal",)  # the owner is not locked out


def test_a_stop_is_obeyed_whatever_its_sequence(run: tuple[Commander, UdpCommands, Client], here: Callable) -> None:
    commander, source, client = run
    assert here(commander) == ("path",)
    assert client.say(0, stop=True) == "" and here(commander) == ("steering",) and source.stopped
    assert "the robot was stopped" in client.say(5, order={"path": {}}) and here(commander) == ("steering",)
    assert client.say(6, stop=False, order={"path": {}}) == "" and here(commander) == ("path",)


def test_a_stop_is_obeyed_from_any_socket(run: tuple[Commander, UdpCommands, Client], here: Callable) -> None:
    """A second program without the session that is not the peer, such as a stop button."""
    commander, source, client = run
    other = Client(source.endpoint.address, client.key)
    assert other.say(0, stop=True) == "" and here(commander) == ("steering",)
    other.socket.close()
    # With a key not from everybody.
    if client.key:
        assert client.say(stop=False) == ""
        forger = Client(source.endpoint.address, ANOTHER)
        forger.send(9, stop=True)
        settle(lambda: source.endpoint.dropped["signature"] == 1)
        assert not source.stopped
        forger.socket.close()


def test_a_stop_of_a_policy_that_cannot_stand_ends_the_run(exported: Path) -> None:
    class Tracker(OnnxPolicy):
        needs_poses = True

    commander, ended = Commander(Tracker(exported)), threading.Event()
    commander.on_end = ended.set
    with UdpCommands(ANY, commander) as source:
        client = Client(source.endpoint.address, None)
        assert client.say(stop=True) == "" and ended.is_set()
        client.socket.close()


def test_a_restarted_commander_is_accepted_again(
    run: tuple[Commander, UdpCommands, Client], here: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    commander, source, client = run
    client.say(500)
    again = Client(source.endpoint.address, client.key)
    again.session = client.session if client.key else {}
    assert again.say(order={"goal": {"point": [1, 0]}}) == "another commander is locked in"
    monkeypatch.setattr(endpoint, "PEER_TIMEOUT", 0.05)
    time.sleep(0.06)
    if client.key:
        assert again.say() == "name this session in each datagram" and again.session != client.session
    assert again.say(order={"goal": {"point": [1, 0]}}) == "" and here(commander) == ("goal",)
    again.socket.close()


def test_a_walk_continues_during_a_flood(exported: Path) -> None:
    """Junk as fast as a thread can send it, while MuJoCo and the policy walk and the owner gives orders."""
    policy, robot = OnnxPolicy(exported), MujocoRobot(exported)
    commander = Commander(policy)
    with UdpCommands(ANY, commander) as source:
        owner, done = Client(source.endpoint.address, None), threading.Event()
        assert owner.say(order={"steering": {"speed": 0.0}}) == ""

        def flood() -> None:
            with peer(source.endpoint.address) as stranger:
                while not done.is_set():
                    stranger.send(os.urandom(600))

        thread = threading.Thread(target=flood)
        thread.start()
        loop = ControlLoop(policy, robot, commander, 1 / 30, realtime=False)
        report = loop.run(15)
        assert owner.say(order={"goal": {"point": [1, 0]}}) == ""
        loop.run(15)
        done.set()
        thread.join()
        owner.socket.close()
    assert report.event is None and commander.modes == ("goal",)
    assert set(commander.dropped) <= {"json", "size"} and commander.dropped["json"] > 0


def test_the_commander_in_the_docs_is_obeyed(
    exported: Path, tmp_path: Path, here: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    root, example = Path(__file__).parents[2], "packages/deploy/examples/udp_orders.py"
    assert example in (root / "docs" / "realtime.md").read_text()
    block = (root / example).read_text()
    (tmp_path / "udp.key").write_bytes(KEY)
    commander = Commander(OnnxPolicy(exported))
    with UdpCommands(ANY, commander, KEY) as source:
        scope: dict = {}
        code = block.replace('"udp.key"', repr(str(tmp_path / "udp.key")))
        exec(code.replace("47801", str(source.endpoint.address[1])), scope)
        scope["link"].close()
        assert source.stopped and here(commander) == ("steering",)
        answers = [{"sequence": number, "session": source._session} for number in (2, 3)]
        assert capsys.readouterr().out == f"{answers[0]} {answers[1]}\n"
