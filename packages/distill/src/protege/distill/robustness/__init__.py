"""How much a policy's world may differ from what it was trained in: one factor at a time, then several together."""
