"""How much a file may hold: a few kilobytes can be made to ask for any amount of memory or time."""

MAX_BYTES = 512 << 20
"""Bytes of one file, unpacked. Ten minutes at 240 frames a second of 29 joints are 100 MB as text."""
MAX_INSTRUCTIONS = 5_000_000
"""Instructions of a pickle. One for each number of a list, where numbers are not arrays."""
MAX_VALUES = 5_000_000
"""Values in a pickle once shared ones are counted each time: nesting doubles them with a few bytes."""
MAX_DEPTH = 50
"""Containers within containers."""
