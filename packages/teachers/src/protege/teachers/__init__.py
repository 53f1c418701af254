"""Step 3: specialised teachers, the zoo that holds them, and what they say about an observation."""

__version__ = "0.1.0"
