"""Protégé's core: everything that needs torch and no simulator."""

import os

__version__ = "0.2.0"

# By default, idle torch threads spin and take cores from the simulator and from other programs. On a busy machine this made
# training ten to forty times slower. OpenMP reads the variable when torch is imported: a program that imports torch before this
# package must set it in the shell. An existing value is not changed.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
