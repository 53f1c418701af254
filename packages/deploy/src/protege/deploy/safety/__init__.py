"""What keeps a robot from harm: limits, trips, and the watch over the loop."""
