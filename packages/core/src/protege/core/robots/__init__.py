"""Robots: description, kinematics, rotations and state."""
