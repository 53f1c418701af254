"""UDP between a run, its robot and its commander: sockets, packets and the shared key."""
