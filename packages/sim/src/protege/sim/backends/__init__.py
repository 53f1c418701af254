"""Physics backends."""
