"""The thread that commands the motors: 500 messages per second, and permanent damping after a fault."""

import threading
import time
from contextlib import ExitStack, suppress

import numpy as np

from ..errors import DeployError
from ..loop.latency import Histogram
from ..loop.pace import priority
from .bus import Bus
from .cdr import encode
from .messages import LOW_COMMAND, LOW_STATE
from .remote import STOP_BUTTONS, Remote
from .sdk import SdkBus

COMMAND_PERIOD = 0.002  # s
STATE_TIMEOUT = 0.1  # s without a state, after which the robot damps


class CommandThread:
    """Reads the newest state, checks the remote control, and repeats the command.

    Args:
        bus: to the robot.
        valid: s for which a target is valid.
        fifo: SCHED_FIFO priority; None: none.

    Attributes:
        state: the newest record of `LOW_STATE`; None before the first.
        stopped: why the robot damps permanently; empty while it does not.
        late: delay of each message, s.
    """

    def __init__(self, bus: Bus | SdkBus, valid: float, fifo: int | None = None) -> None:
        self._bus, self._valid, self._fifo = bus, valid, fifo
        self.state: np.ndarray | None = None
        self.stopped, self.late = "", Histogram()
        self._message = LOW_COMMAND.zeros()
        self._wire: bytes | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._damping: np.ndarray | None = None
        self._last_state_time, self._expires = time.perf_counter(), float("inf")
        self._thread = threading.Thread(target=self._run, name="unitree", daemon=True)

    def start(self) -> None:
        self._last_state_time = time.perf_counter()
        self._thread.start()

    def end(self) -> None:
        """Stop sending."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def command(self, motors: np.ndarray, *, control: bool) -> None:
        """Set the command that is repeated from now on.

        Args:
            motors: (35,) of `MOTOR_COMMAND`.
            control: whether it contains targets, which expire. Otherwise it damps.
        """
        damping = motors.copy()
        damping["kp"] = damping["tau"] = 0.0
        with self._lock:
            self._damping = damping
            self._expires = time.perf_counter() + self._valid if control else float("inf")
            self._set(damping if self.stopped else motors)
            wire = self._wire
        if wire is not None and not self.ended:  # immediately, and then repeatedly
            self._bus.publish_bytes(wire, LOW_COMMAND)

    def stop(self, why: str) -> None:
        """Damp permanently from now on; the first reason counts. Any thread may call it."""
        with self._lock:
            self.stopped = self.stopped or why
            if self._damping is not None:
                self._set(self._damping)

    def receive_state(self) -> np.ndarray | None:
        """The newest state; without a new one, the last."""
        newest = self._bus.take(LOW_STATE)
        if newest is not None:
            self.state, self._last_state_time = newest, time.perf_counter()
            if Remote.of(newest["wireless_remote"].tobytes()).buttons >= STOP_BUTTONS:
                self.stop("the remote control's stop was pressed")
        return self.state

    def _set(self, motors: np.ndarray) -> None:
        """Encode the command to send. The caller holds the lock."""
        state = self.state
        assert state is not None  # the robot was waited for
        self._message["mode_machine"], self._message["motor_cmd"] = state["mode_machine"], motors
        self._wire = encode(self._message, LOW_COMMAND)

    def _run(self) -> None:
        with ExitStack() as stack:
            with suppress(DeployError):  # if a priority is not permitted, the loop reports it
                stack.enter_context(priority(None if self._fifo is None else min(99, self._fifo + 1)))
            tick = time.perf_counter()
            while not self._ended.is_set():
                # Not `PreciseSleep`: its spinning would block the loop's interpreter 500 times per second.
                time.sleep(max(0.0, tick - time.perf_counter()))
                self._once(time.perf_counter() - tick)
                # Missed ticks are skipped: a message is valid until the next one.
                tick = max(tick + COMMAND_PERIOD, time.perf_counter() - COMMAND_PERIOD)

    def _once(self, late: float) -> None:
        self.late.add(late)
        self.receive_state()
        now = time.perf_counter()
        if now > self._expires:
            self.stop(f"no target for {1e3 * (now - self._expires + self._valid):.0f} ms")
        if now - self._last_state_time > STATE_TIMEOUT:
            self.stop(f"the robot has been silent for {1e3 * (now - self._last_state_time):.0f} ms")
        wire = self._wire
        if wire is not None:
            self._bus.publish_bytes(wire, LOW_COMMAND)
