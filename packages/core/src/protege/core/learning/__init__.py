"""Learning: networks, policies, rollouts, and the algorithms that train them."""
