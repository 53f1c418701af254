"""Command lines: `protege-core`, the umbrella command `protege`, and what the packages share."""
