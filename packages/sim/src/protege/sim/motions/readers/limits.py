"""Limits on the contents of a file: a few kilobytes can request any amount of memory or time."""

MAX_BYTES = 512 << 20
"""Bytes of one file, unpacked. Ten minutes at 240 frames per second of 29 joints are 100 MB as text."""
MAX_INSTRUCTIONS = 5_000_000
"""Instructions of a pickle: one for each number of a list, if numbers are not in arrays."""
MAX_VALUES = 5_000_000
"""Values in a pickle, with shared ones counted each time: nesting doubles them with a few bytes."""
MAX_DEPTH = 50
"""Depth of nested containers."""
