"""Learning through a model of the world: the simulator's step as a network, and a policy trained by the gradient through it."""
