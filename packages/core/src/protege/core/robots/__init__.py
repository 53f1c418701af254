"""A robot as plain data: its description, kinematics, rotations and state."""
