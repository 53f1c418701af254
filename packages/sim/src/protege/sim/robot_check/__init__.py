"""What a robot's files say, what is doubtful about them, and how the robot stands and hangs: `protege sim robots check`."""
