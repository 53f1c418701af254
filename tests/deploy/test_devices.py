"""Keys on a real pseudo-terminal, a gamepad's events through a real pipe."""

import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from protege.deploy.cli.main import main
from protege.deploy.commands.commander import Commander
from protege.deploy.commands.sources.driver import Driver, print_line
from protege.deploy.commands.sources.gamepad import Stick, gamepad
from protege.deploy.commands.sources.keyboard import keyboard
from protege.deploy.errors import DeployError
from protege.deploy.interface import Command, RobotReading
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy

WALK = "smpl_humanoid_walk.npy"


@pytest.fixture(scope="module")
def robot(exported: Path) -> MujocoRobot:
    return MujocoRobot(exported)


@pytest.fixture
def commander(exported: Path, robot: MujocoRobot) -> Commander:
    made = Commander(OnnxPolicy(exported), robot.body_poses)
    made(0.0, robot.read())  # the start
    return made


def current_command(commander: Commander, robot: MujocoRobot) -> Command:
    return commander(1.0, robot.read())


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(1e-3)


def angle(command: Command, reading: RobotReading) -> float:
    """Degrees to the left of where the robot faces."""
    x, y = command.steering_direction_w
    return float(np.degrees(np.arctan2(y, x)) - np.degrees(reading.yaw))


# What keys and buttons do ------------------------------------------------------------------------------------------------


def test_steering_goes_step_by_step_within_bounds(commander: Commander, robot: MujocoRobot) -> None:
    driver = Driver(commander)
    for _ in range(4):
        driver.actions["faster"]()
    assert driver.actions["left"]() == "steering 1.00 m/s, +15°"
    command = current_command(commander, robot)
    assert command.steering_speed == 1.0 and angle(command, robot.read()) == pytest.approx(15.0)
    for _ in range(9):
        driver.actions["faster"]()
    assert driver.speed == 1.5
    for _ in range(13):
        driver.actions["right"]()
    assert driver.direction == -180.0 and driver.actions["right"]() == "steering 1.50 m/s, +165°"
    assert driver.actions["stand"]() == "steering 0.00 m/s, +165°"
    assert driver.actions["slower"]() == "steering 0.00 m/s, +165°"


def test_other_actions_give_their_orders(commander: Commander, robot: MujocoRobot) -> None:
    driver, ends = Driver(commander, WALK), []
    commander.on_end = lambda: ends.append(True)
    for action in ("goal", "path", "motion"):
        driver.actions[action]()
        current_command(commander, robot)
        assert commander.modes == (action,)
    driver.actions["end"]()
    assert ends == [True] and "motion" not in Driver(commander).actions


def test_a_refused_order_is_printed(commander: Commander) -> None:
    assert "no clip at nowhere.npy" in Driver(commander, "nowhere.npy").actions["motion"]()


# The keyboard ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal, of which the second is standard input."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "r", closefd=False) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield master, slave
    for fd in (master, slave):
        with suppress(OSError):  # a test may have hung up
            os.close(fd)


def test_keys_steer_and_the_terminal_is_restored(
    terminal: tuple[int, int], commander: Commander, robot: MujocoRobot, capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = terminal
    before = termios.tcgetattr(slave)
    with keyboard(commander) as driver:
        assert termios.tcgetattr(slave) != before
        os.write(master, b"ww\x1b[A")
        wait_for(lambda: driver.speed == 0.75)
        os.write(master, b"a\x1b[D\x1b[Da\x1b[C?")
        wait_for(lambda: driver.direction == 45.0)
        command = current_command(commander, robot)
        assert command.steering_speed == 0.75 and angle(command, robot.read()) == pytest.approx(45.0)
    assert termios.tcgetattr(slave) == before
    assert "w s faster, slower" in capsys.readouterr().err


def test_a_closed_terminal_makes_the_commander_silent(terminal: tuple[int, int], exported: Path) -> None:
    master, _ = terminal
    now = [0.0]
    commander = Commander(OnnxPolicy(exported), clock=lambda: now[0])
    with keyboard(commander) as driver:
        os.write(master, b"w")
        wait_for(lambda: driver.speed == 0.25)
        now[0] = 5.0
        wait_for(lambda: commander.silence == 0.0)  # a sign of life at every poll
        os.close(master)
        wait_for(lambda: "device" not in {thread.name for thread in threading.enumerate()})
        now[0] = 9.0
        assert commander.silence == 4.0


def test_the_keyboard_needs_a_terminal(exported: Path) -> None:
    done = CliRunner().invoke(main, ["run", str(exported), "--commands", "keyboard"])
    assert (
        done.exit_code == 2
        and done.output == "error: the keyboard needs a terminal. Run it in one, or take --commands udp:PORT\n"
    )


def test_keys_control_a_run(exported: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    report, record = tmp_path / "report.json", tmp_path / "run.npz"
    words = [
        "run",
        str(exported),
        "--commands",
        "keyboard",
        "--no-safety",
        "--report",
        str(report),
        "--record",
        str(record),
    ]
    program = "from protege.deploy.cli.main import main; main()"
    with subprocess.Popen([sys.executable, "-c", program, *words], stdin=slave, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        printed = b""
        for keys, answer in ((b"", b"w s faster"), (b"www", b"0.75 m/s")):
            os.write(master, keys)
            while answer not in printed:
                printed += (chunk := os.read(process.stderr.fileno(), 1000))
                assert chunk, printed
        spool = tmp_path / ".run.npz.spool"
        wait_for(spool.exists)
        time.sleep(0.5)
        os.write(master, b"q")
        process.communicate(timeout=60)
    os.close(master)
    os.close(slave)
    assert process.returncode == 0
    with np.load(record, allow_pickle=False) as run:
        assert run["steering_speed"][0] in (0.0, 0.25, 0.5, 0.75) and run["steering_speed"][-1] == 0.75
        assert len(run["time"]) == json.loads(report.read_text())["loop"]["steps"]


# The gamepad -------------------------------------------------------------------------------------------------------------


def event(kind: int, number: int, value: int) -> bytes:
    return struct.pack("<IhBB", 123, value, kind, number)


@pytest.mark.parametrize(
    ("x", "y", "direction", "speed"),
    [
        (0, -32767, 0.0, 1.5),
        (-32767, 0, 90.0, 1.5),
        (32767, 0, -90.0, 1.5),
        (-23170, -23170, 45.0, 1.5),
        (0, 32767, 180.0, 1.5),
        (3000, -3000, 0.0, 0.0),  # within the dead zone
        (0, -18841, 0.0, 0.75),
    ],
)
def test_the_stick_sets_direction_and_speed(
    x: int, y: int, direction: float, speed: float, commander: Commander
) -> None:
    driver = Driver(commander)
    Stick(driver).take(event(2, 0, x) + event(2, 1, y))
    assert abs(driver.direction) == pytest.approx(abs(direction), abs=0.01) and driver.speed == pytest.approx(
        speed, abs=1e-3
    )
    assert np.sign(driver.direction) == np.sign(direction) or abs(direction) == 180.0


def test_buttons_give_orders_and_initial_events_do_not(commander: Commander, robot: MujocoRobot) -> None:
    driver, ends = Driver(commander), []
    commander.on_end = lambda: ends.append(True)
    stick = Stick(driver)
    stick.take(event(0x82, 0, 0) + event(0x82, 1, -32767) + event(0x81, 7, 1))  # its state when it is opened
    assert driver.speed == 0.0 and not ends
    stick.take(event(1, 1, 1)[:5])
    stick.take(event(1, 1, 1)[5:] + event(1, 1, 0) + event(2, 5, 30000))  # in two pieces; another axis
    current_command(commander, robot)
    assert commander.modes == ("goal",)
    stick.take(event(1, 3, 1))  # there is no clip
    current_command(commander, robot)
    assert commander.modes == ("goal",)
    stick.take(event(1, 7, 1))
    assert ends == [True]


def test_a_gamepad_is_read_and_its_removal_detected(commander: Commander, tmp_path: Path) -> None:
    pipe = tmp_path / "js0"
    os.mkfifo(pipe)
    pad = os.open(pipe, os.O_RDWR)
    with gamepad(commander, device=str(pipe)) as driver:
        os.write(pad, event(2, 1, -32767))
        wait_for(lambda: driver.speed == 1.5)
        os.close(pad)
        wait_for(lambda: commander.silence > 0.3)


@pytest.fixture(params=["pipe", "terminal"])
def pad(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A device of events: where they are written, and its path."""
    if request.param == "pipe":
        path = str(tmp_path / "js0")
        os.mkfifo(path)
        master = others = os.open(path, os.O_RDWR)
    else:
        master, others = pty.openpty()
        tty.setraw(others)
        path = os.ttyname(others)
    yield master, path
    for fd in {master, others}:
        with suppress(OSError):  # the test has unplugged it
            os.close(fd)


def test_any_bytes_leave_the_gamepad_working(
    pad: tuple[int, str], commander: Commander, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random bytes, random events of known kinds, and events cut in pieces: 16 000 events; then it is unplugged within one."""
    device, path = pad
    random, failed, ends = np.random.default_rng(0), list[object](), list[bool]()
    monkeypatch.setattr(threading, "excepthook", failed.append)
    commander.on_end = lambda: ends.append(True)
    with gamepad(commander, device=path) as driver:
        sent = 0
        for _ in range(500):
            pieces = random.bytes(int(random.integers(1, 300))), valid_events(random), random.bytes(128)
            for piece in pieces:
                sent += len(piece)
                while piece:  # a terminal takes a few kilobytes at a time
                    piece = piece[os.write(device, piece) :]
            assert driver.speeds[0] <= driver.speed <= driver.speeds[1] and abs(driver.direction) <= 180.0
        os.write(device, bytes(-sent % 8) + event(2, 0, 0) + event(2, 1, -32767))
        wait_for(lambda: driver.speed == 1.5 and driver.direction == 0.0)
        assert ends and commander.silence < 0.3
        os.write(device, event(1, 0, 1)[:3])
        os.close(device)
        wait_for(lambda: commander.silence > 0.3)
        assert driver.speed == 1.5
    assert not failed


def valid_events(random: np.random.Generator) -> bytes:
    kinds, numbers, values = (
        random.choice([1, 2, 0x81, 0x82], 16),
        random.integers(0, 9, 16),
        random.integers(-(2**15), 2**15, 16),
    )
    return b"".join(event(int(k), int(n), int(v)) for k, n, v in zip(kinds, numbers, values, strict=True))


def test_a_device_without_a_writer_is_noticed(commander: Commander, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "js0")
    with gamepad(commander, device=str(tmp_path / "js0")):
        wait_for(lambda: commander.silence > 0.1)


@pytest.mark.parametrize("name", ["", "file"])
def test_a_folder_or_a_file_is_no_gamepad(name: str, commander: Commander, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(80))
    with (
        pytest.raises(DeployError, match=r"is no gamepad\. Name a device"),
        gamepad(commander, None, str(tmp_path / name)),
    ):
        raise AssertionError


def test_a_terminal_that_is_gone_does_not_end_the_control(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(click, "echo", refuse)
    print_line("steering")


def test_a_missing_gamepad_is_a_one_line_error(
    commander: Commander, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(main, ["run", str(exported), "--commands", "gamepad:/dev/input/js99"])
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert "no gamepad at /dev/input/js99 (No such file or directory). Plug one in" in done.output

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeployError, match=r"js0 may not be read\. Join the group"), gamepad(commander):
        raise AssertionError


def test_a_clip_is_only_allowed_with_keyboard_or_gamepad(exported: Path) -> None:
    done = CliRunner().invoke(main, ["run", str(exported), "--commands", "udp:0", "--motion-file", WALK])
    assert done.exit_code == 2 and "--commands udp does not go with --task or --motion-file" in done.output
    done = CliRunner().invoke(main, ["run", str(exported), "--commands", "keyboard", "--motion-file", "nowhere.npy"])
    assert done.exit_code == 2 and "no clip at nowhere.npy" in done.output
