"""The tasks: the commands, rewards and failure rules of the envs."""
