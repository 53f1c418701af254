"""Motions: read from files of many formats, retargeted to a robot, looked at."""
