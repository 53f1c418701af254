"""The tasks: what the envs of each ask of the robot, how that is rewarded, and when it has failed."""
