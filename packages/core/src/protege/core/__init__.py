"""Protégé's core: everything that needs torch and no simulator."""

__version__ = "0.1.0"
