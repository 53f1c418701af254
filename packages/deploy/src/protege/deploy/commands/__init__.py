"""What a robot is told: commands, orders, and the clips that are commands."""
