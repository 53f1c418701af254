"""Commands, the orders that make them, and clips as commands."""
