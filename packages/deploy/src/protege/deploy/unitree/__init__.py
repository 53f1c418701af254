"""A robot that speaks Unitree's low-level messages over DDS, and a simulated one that does too."""
