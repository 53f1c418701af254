"""What a program on the robot imports: an exported policy, the loop around it, and what both read and write.

Neither torch nor `protege.core` is imported. Example: docs/realtime.md.
"""

from .interface import Command, CommandSource, RobotInterface, RobotReading
from .loop.loop import ControlLoop, LoopReport
from .policy.onnx_policy import OnnxPolicy

__all__ = ["Command", "CommandSource", "ControlLoop", "LoopReport", "OnnxPolicy", "RobotInterface", "RobotReading"]
