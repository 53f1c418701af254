"""Motions: read from files of many formats, retargeted to robots, inspected and drawn."""
