"""Protégé's core: everything that needs torch and no simulator."""

import os

__version__ = "0.1.0"

# Torch's threads that wait for work would otherwise spin, and take the cores from the simulator's and from other programs: on a
# busy machine that made training ten to forty times slower. OpenMP reads this when torch is imported, so who imports torch first
# sets it in the shell. A value that is already there stays.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
