"""UDP between a run, its robot and whoever commands it: sockets, packets and the shared key."""
