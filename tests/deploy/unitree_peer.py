"""A program with Unitree's own SDK for Python: sends states like a robot, receives commands, and prints the valid ones.

It ends when stiff motors are damped, at the latest after SECONDS.

python unitree_peer.py DOMAIN SECONDS MODE_MACHINE
"""

import json
import sys
import time

from unitree_sdk2py.core.channel import ChannelFactoryInitialize, ChannelPublisher, ChannelSubscriber
from unitree_sdk2py.idl.default import unitree_hg_msg_dds__LowState_
from unitree_sdk2py.idl.unitree_hg.msg.dds_ import LowCmd_, LowState_
from unitree_sdk2py.utils.crc import CRC


def main(domain: int, seconds: float, mode_machine: int) -> None:
    ChannelFactoryInitialize(domain, "lo")
    publisher, received, crc = ChannelPublisher("rt/lowstate", LowState_), [], CRC()
    subscriber = ChannelSubscriber("rt/lowcmd", LowCmd_)
    publisher.Init()
    subscriber.Init(received.append, 10)
    state, end = unitree_hg_msg_dds__LowState_(), time.monotonic() + seconds
    state.mode_machine = mode_machine
    state.imu_state.quaternion = [1.0, 0.0, 0.0, 0.0]
    for index in range(35):
        state.motor_state[index].q = 0.01 * index
    stiff = damped = False
    while time.monotonic() < end and not damped:
        last_kp = received[-1].motor_cmd[5].kp if received else 0.0
        stiff, damped = stiff or last_kp > 0.0, stiff and last_kp == 0.0
        state.tick += 1
        state.crc = crc.Crc(state)
        publisher.Write(state)
        time.sleep(0.004)
    good = [command for command in received if crc.Crc(command) == command.crc]
    result = {
        "heard": len(received),
        "good": len(good),
        "modes": sorted({command.mode_machine for command in good}),
        "targets": sorted({round(command.motor_cmd[5].q, 4) for command in good}),
        "stiff": sum(command.motor_cmd[5].kp > 0.0 for command in good),
        "last_kp": good[-1].motor_cmd[5].kp if good else None,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
