"""The public API for programs on the robot: an exported policy, the control loop, and their interfaces.

Neither torch nor `protege.core` is imported. Example: docs/realtime.md.
"""

from .interface import Command, CommandSource, RobotInterface, RobotReading
from .loop.loop import ControlLoop, LoopReport
from .policy.onnx_policy import OnnxPolicy

__all__ = ["Command", "CommandSource", "ControlLoop", "LoopReport", "OnnxPolicy", "RobotInterface", "RobotReading"]
