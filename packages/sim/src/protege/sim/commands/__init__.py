"""Commands: what a world is asked to do, and the reference motion that does it."""
