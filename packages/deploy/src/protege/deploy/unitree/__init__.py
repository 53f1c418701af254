"""Robots with Unitree's low-level messages over DDS, and a simulated robot with the same messages."""
