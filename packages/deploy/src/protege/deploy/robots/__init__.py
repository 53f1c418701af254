"""Robots that implement `RobotInterface`, one file each."""
