"""The real-time loop, its clock and its recordings."""
