"""Who gives orders to a `Commander`, one file each."""
