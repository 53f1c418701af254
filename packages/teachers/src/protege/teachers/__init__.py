"""Step 3: specialised teachers, their labels, and the zoo of trained policies."""

__version__ = "0.2.0"
