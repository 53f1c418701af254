"""Checks of a robot's files: facts, doubts, and how the robot stands and hangs; `protege sim robots check`."""
