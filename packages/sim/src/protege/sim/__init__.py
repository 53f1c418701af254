"""Simulators, robots, motion import, and the environment in which policies are trained."""

__version__ = "0.2.0"
