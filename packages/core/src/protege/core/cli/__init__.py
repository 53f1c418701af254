"""Command lines: `protege-core`, the umbrella `protege`, and what the packages share."""
