"""Model-based training: a world model of the simulator's step, and a policy trained with gradients through it."""
