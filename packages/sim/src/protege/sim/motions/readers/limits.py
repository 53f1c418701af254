"""How much a file may hold: a few kilobytes can be made to ask for any amount of memory or time."""

LARGEST = 512 << 20
"""Bytes of one file, unpacked. Ten minutes at 240 frames a second of 29 joints are 100 MB as text."""
MOST_STEPS = 5_000_000
"""Instructions of a pickle. One for each number of a list, where numbers are not arrays."""
MOST_VALUES = 5_000_000
"""Values in a pickle once shared ones are counted each time: nesting doubles them with a few bytes."""
DEEPEST = 50
"""Containers within containers."""
