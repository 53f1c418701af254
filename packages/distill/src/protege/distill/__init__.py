"""Step 4: one light student distilled from many teachers, and the evaluation of every policy."""

__version__ = "0.2.0"
