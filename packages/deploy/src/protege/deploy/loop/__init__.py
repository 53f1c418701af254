"""The real-time loop, its clock, its recordings."""
