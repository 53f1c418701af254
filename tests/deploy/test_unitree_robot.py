"""A robot with Unitree's messages: states are read, commands are repeated, and faults damp it permanently."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from waiting import until

from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.export.export import export
from protege.deploy.interface import Mode
from protege.deploy.policy import metadata as _metadata
from protege.deploy.policy.metadata import Metadata
from protege.deploy.unitree.bus import Bus
from protege.deploy.unitree.messages import LOW_COMMAND, LOW_STATE, NUM_MOTORS, ODOMETRY
from protege.deploy.unitree.motors import motors_of
from protege.deploy.unitree.remote import Remote
from protege.deploy.unitree.robot import UnitreeRobot, reading_of

G1 = motors_of("g1")
STOOD_STILL = r"no target for|the robot has been silent for"
"""How each side reports that the other's process did."""
DOMAIN = 30 + os.getpid() % 190
"""Of DDS: other tests of this machine use another one."""


@pytest.fixture(scope="session")
def g1_walker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped student of the G1, exported."""
    return export("zoo:g1_student", tmp_path_factory.mktemp("g1") / "student")


@pytest.fixture(scope="session")
def g1_metadata(g1_walker: Path) -> Metadata:
    return _metadata.load(g1_walker)


class Machine:
    """Sends states at 250 Hz, and receives commands.

    Attributes:
        remote: what is pressed.
        silent: says nothing.
        received: the newest command; None before the first.
        count: of the commands.
    """

    def __init__(self, *, odometry: bool = True) -> None:
        self.bus, self.remote, self.silent, self.odometry = Bus("lo", DOMAIN), Remote(), False, odometry
        self.received: np.ndarray | None = None
        self.count, self._ended = 0, threading.Event()
        self.state, self.place = LOW_STATE.zeros(), ODOMETRY.zeros()
        self.state["mode_machine"], self.state["imu_state"]["quaternion"] = 5, [1.0, 0.0, 0.0, 0.0]
        self.state["motor_state"]["q"] = 0.01 * np.arange(NUM_MOTORS)
        self.place["position"] = [1.0, 2.0, 0.75]
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(0.004):
            received = self.bus.take(LOW_COMMAND)
            self.received, self.count = (self.received, self.count) if received is None else (received, self.count + 1)
            if not self.silent:
                self.state["tick"] += 1
                self.state["wireless_remote"] = np.frombuffer(self.remote.pack(), np.uint8)
                self.bus.publish(self.state, LOW_STATE)
                if self.odometry:
                    self.bus.publish(self.place, ODOMETRY)

    def motors(self, name: str) -> np.ndarray:
        """A field of the last command, by motor."""
        assert self.received is not None
        return self.received["motor_cmd"][name]

    def __enter__(self) -> "Machine":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.bus.close()


@pytest.fixture
def link(g1_metadata: Metadata) -> Iterator[tuple[Machine, UnitreeRobot]]:
    with Machine() as machine:
        robot = UnitreeRobot("lo", g1_metadata, domain=DOMAIN)
        yield machine, robot
        robot.close()


def test_a_reading_is_in_the_world_frame() -> None:
    state, place = LOW_STATE.zeros(), ODOMETRY.zeros()
    half = np.sqrt(0.5)
    state["imu_state"]["quaternion"] = [half, 0.0, 0.0, half]  # looks to the left: its x is the world's y
    state["imu_state"]["gyroscope"] = [1.0, 0.0, 0.5]
    state["motor_state"]["q"], state["motor_state"]["dq"] = np.arange(NUM_MOTORS), -np.arange(NUM_MOTORS)
    state["tick"], place["position"], place["velocity"] = 7, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    reading = reading_of(state, place, np.array([2, 0]))
    np.testing.assert_allclose(reading.root_ang_vel_w, [0.0, 1.0, 0.5], atol=1e-6)
    assert reading.joint_pos.tolist() == [2.0, 0.0] and reading.joint_vel.tolist() == [-2.0, 0.0]
    assert reading.stamp == 7 and reading.measured_root_pos_w.tolist() == [1.0, 2.0, 3.0]
    assert reading_of(state, None, np.array([0])).root_pos_w is None


def test_joints_are_found_by_name_and_commands_are_repeated(
    link: tuple[Machine, UnitreeRobot], g1_metadata: Metadata
) -> None:
    machine, robot = link
    order = [G1.names.index(name) for name in g1_metadata.joint_names]
    np.testing.assert_allclose(robot.read().joint_pos, [0.01 * index for index in order], atol=1e-6)
    until(lambda: robot.read().root_pos_w is not None, "no odometry")  # a message of its own
    assert robot.read().measured_root_pos_w.tolist() == [1.0, 2.0, 0.75]
    end, wanted = time.monotonic() + 1.0, np.linspace(-0.5, 0.5, g1_metadata.num_joints)
    while time.monotonic() < end:
        robot.write(wanted)
        time.sleep(0.02)
    np.testing.assert_allclose(machine.motors("q")[order], wanted, atol=1e-6)
    np.testing.assert_allclose(machine.motors("kp")[order], g1_metadata.stiffness, rtol=1e-6)
    np.testing.assert_allclose(machine.motors("kd")[order], g1_metadata.damping, rtol=1e-6)
    assert (machine.motors("mode")[:29] == 1).all() and not machine.motors("mode")[29:].any()
    assert machine.received is not None and machine.received["mode_machine"] == 5 and machine.received["mode_pr"] == 0
    assert robot.thread.late.count > 300  # of 500, on a busy machine
    robot.write(wanted, Mode.DAMPING)
    until(lambda: not machine.motors("kp").any(), "no damping")
    assert not robot.stopped and machine.motors("kd")[0] > 0.0


def keep_writing(robot: UnitreeRobot, g1_metadata: Metadata, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        robot.write(np.zeros(g1_metadata.num_joints))
        time.sleep(0.01)


def test_the_remote_controls_stop_damps_permanently(link: tuple[Machine, UnitreeRobot], g1_metadata: Metadata) -> None:
    machine, robot = link
    keep_writing(robot, g1_metadata, 0.2)
    assert machine.motors("kp")[0] > 0.0
    machine.remote = Remote(frozenset({"L2"}))
    keep_writing(robot, g1_metadata, 0.1)
    assert not robot.stopped
    machine.remote = Remote(frozenset({"L2", "B", "up"}))
    until(lambda: robot.stopped, "not stopped")
    machine.remote = Remote()
    keep_writing(robot, g1_metadata, 0.2)  # the loop goes on commanding
    assert "remote control" in robot.stopped and not machine.motors("kp").any() and machine.motors("kd")[0] > 0.0


def test_a_missed_deadline_damps_permanently(link: tuple[Machine, UnitreeRobot], g1_metadata: Metadata) -> None:
    machine, robot = link
    keep_writing(robot, g1_metadata, 0.2)
    until(lambda: robot.stopped, "not stopped")
    assert "no target for" in robot.stopped
    keep_writing(robot, g1_metadata, 0.2)
    assert not machine.motors("kp").any()


def test_a_silent_robot_is_left_damping(link: tuple[Machine, UnitreeRobot], g1_metadata: Metadata) -> None:
    machine, robot = link
    keep_writing(robot, g1_metadata, 0.2)
    machine.silent = True
    keep_writing(robot, g1_metadata, 0.3)
    assert "the robot has been silent" in robot.stopped and not machine.motors("kp").any()


def test_the_end_of_a_run_leaves_it_damping(link: tuple[Machine, UnitreeRobot], g1_metadata: Metadata) -> None:
    machine, robot = link
    keep_writing(robot, g1_metadata, 0.2)
    robot.close()
    until(lambda: not machine.motors("kp").any(), "no damping")
    count = machine.count
    time.sleep(0.1)
    assert machine.count <= count + 1  # and silence


def test_flawed_messages_change_nothing(link: tuple[Machine, UnitreeRobot]) -> None:
    machine, robot = link
    before = robot.read()
    generator, size = np.random.default_rng(0), 2092
    for _ in range(300):
        machine.bus.publish_bytes(b"\0\1\0\0" + generator.bytes(size - 4), LOW_STATE)
        time.sleep(0.001)
    np.testing.assert_array_equal(before.joint_pos, robot.read().joint_pos)
    assert robot.dropped["checksum"] > 30 and not robot.stopped


def test_a_second_robot_on_the_same_topic_is_ignored(link: tuple[Machine, UnitreeRobot]) -> None:
    machine, robot = link
    stranger, forged = Bus("lo", DOMAIN), machine.state.copy()
    forged["motor_state"]["q"], forged["wireless_remote"] = (
        9.0,
        np.frombuffer(Remote(frozenset({"L2", "B"})).pack(), "u1"),
    )
    for _ in range(200):
        stranger.publish(forged, LOW_STATE)
        time.sleep(0.002)
    stranger.close()
    assert robot.dropped["stranger"] > 30
    assert robot.read().joint_pos.max() < 0.3 and not robot.stopped


def test_missing_parts_are_one_line_errors(g1_metadata: Metadata, exported: Path) -> None:
    with pytest.raises(DeployError, match=r"no robot on lo, domain \d+ within 0.2 s .*nothing came.*deploy simulate"):
        UnitreeRobot("lo", g1_metadata, domain=DOMAIN, wait=0.2)
    with pytest.raises(DeployError, match="DDS cannot use the interface nowhere0"):
        UnitreeRobot("nowhere0", g1_metadata, domain=DOMAIN + 1, wait=0.2)
    with pytest.raises(DeployError, match="the order of the motors of 'smpl' is not known"):
        UnitreeRobot("lo", _metadata.load(exported), domain=DOMAIN)
    elsewhere = replace(g1_metadata, imu=_metadata.Imu("torso_link", [1.0, 0.0, 0.0, 0.0]))
    with pytest.raises(DeployError, match="sensor is on torso_link, the robot's message has the one on pelvis"):
        UnitreeRobot("lo", elsewhere, domain=DOMAIN)
    with Machine(odometry=False), pytest.raises(DeployError, match=r"does not say where it is \(rt/odommodestate\)"):
        UnitreeRobot("lo", replace(g1_metadata, sensors="full_state"), domain=DOMAIN, wait=1.0)


def test_messages_are_exchanged_with_the_sdk(g1_metadata: Metadata) -> None:
    """Unitree's own SDK for Python in a process of its own is the robot."""
    script = Path(__file__).with_name("unitree_peer.py")
    peer = subprocess.Popen([sys.executable, script, str(DOMAIN), "60", "6"], stdout=subprocess.PIPE, text=True)
    robot = UnitreeRobot("lo", g1_metadata, domain=DOMAIN)
    order = [G1.names.index(name) for name in g1_metadata.joint_names]
    np.testing.assert_allclose(robot.read().joint_pos, [0.01 * index for index in order], atol=1e-6)
    assert robot.read().root_pos_w is None
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        robot.write(np.full(g1_metadata.num_joints, 0.25))
        time.sleep(0.01)
    robot.close()
    lines = peer.communicate(timeout=30)[0].splitlines()
    result = json.loads(lines[-1])
    assert result["heard"] == result["good"] > 50 and result["modes"] == [6]
    assert result["targets"] == [0.25] and result["stiff"] > 50 and result["last_kp"] == 0.0


def test_a_process_with_the_cpp_sdk_ends_while_messages_arrive() -> None:
    """The SDK's destructor aborts one process in eight then."""
    script = [sys.executable, str(Path(__file__).with_name("sdk_peer.py"))]
    senders = [subprocess.Popen([*script, "send"], stdout=subprocess.DEVNULL) for _ in range(2)]
    done = [subprocess.run([*script, "receive"], capture_output=True, text=True, timeout=60) for _ in range(8)]
    for sender in senders:
        sender.kill()
        sender.wait()
    assert [process.returncode for process in done] == [0] * 8, [process.stderr for process in done]


@pytest.mark.parametrize("model", ["installed", "export", "sdk"])
def test_a_simulated_robot_walks_over_the_wire(model: str, g1_walker: Path, tmp_path: Path) -> None:
    """The shipped student: damping, ramp, hold, policy. On a machine that keeps no time it is not the policy that falls."""
    # The SDK, whose output is its own, is in processes of its own, and on domain 0.
    place, wire = (
        ("unitree-sdk:lo", ["--sdk"]) if model == "sdk" else (f"unitree:lo:{DOMAIN}", ["--domain", str(DOMAIN)])
    )
    program, report = str(Path(sys.executable).with_name("protege-deploy")), tmp_path / "report.json"
    given = [*wire, *["--export", str(g1_walker)] * (model == "export")]
    words = ["run", g1_walker, "--robot", place, "--task", "steering", "--seconds", "4", "--soft-start", "50",
             "--limit", "missed_deadlines=off", "--report", report]  # fmt: skip
    for _ in range(3):  # again if a process stood still for 0.1 s, as on a busy machine
        simulation = subprocess.Popen([program, "simulate", "--robot", "g1", *given], stdout=subprocess.PIPE, text=True)
        done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=90)
        simulation.terminate()
        output = simulation.communicate(timeout=30)[0]
        assert done.returncode == 0, done.stderr
        result = json.loads(report.read_text())
        event = result["loop"]["event"]
        if event is None or not (event["cause"] in ("stall", "frozen") or re.search(STOOD_STILL, event["message"])):
            break
    too_late = result["messages_late_ms"]["p99"] > 10.0 or result["loop"]["missed_deadlines"] > 10
    if too_late or "behind real time" in output:
        pytest.skip("this machine is too busy to keep time")
    assert result["stood"] and result["walked_m"] > 2.0 and result["loop"]["event"] is None, result["loop"]["event"]
    assert "commands" in output and "dropped" not in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simulate", "--robot", "atlas"], "the order of the motors of 'atlas' is not known. Known: g1"),
        (["simulate", "--robot", "g1", "--export", "{smpl}"], "is an export for smpl, not g1"),
        (["simulate", "--robot", "g1", "--interface", "nowhere0", "--domain", "3"], "DDS cannot use the interface nowhere0"),
        (["run", "{smpl}", "--robot", "unitree:"], "--robot unitree: is no address"),
        (["run", "{smpl}", "--robot", "unitree:lo", "--fast"], "runs in real time"),
        (["run", "{smpl}", "--robot", "mujoco", "--soft-start", "5", "--begin", "remote"], "has no remote control"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line_errors(words: list[str], message: str, exported: Path) -> None:
    done = CliRunner().invoke(main, [word.format(smpl=exported) for word in words])
    assert done.exit_code == 2 and done.output.startswith("error: ") and done.output.count("\n") == 1
    assert message in done.output
