"""A process with Unitree's C++ SDK that sends states as fast as it can, or receives them for a moment and ends.

python sdk_peer.py send|receive
"""

import sys
import time

from protege.deploy.unitree.messages import LOW_STATE
from protege.deploy.unitree.sdk import SdkBus


def send(bus: SdkBus) -> None:
    """Sends until the process is terminated."""
    state = LOW_STATE.zeros()
    state["imu_state"]["quaternion"] = [1.0, 0.0, 0.0, 0.0]
    while True:
        state["motor_state"]["q"] += 1e-3
        bus.publish(state, LOW_STATE)


def receive(bus: SdkBus) -> None:
    """Receives ten states."""
    received, end = 0, time.monotonic() + 20.0
    while received < 10 and time.monotonic() < end:
        received += bus.take(LOW_STATE) is not None
    sys.exit(0 if received == 10 else "no states")


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]](SdkBus("g1", "lo"))
