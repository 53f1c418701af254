"""Sources of orders for a `Commander`, one file each."""
