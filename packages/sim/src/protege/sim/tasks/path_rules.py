"""The numbers by which path following is judged; plain, so that commands may name them without importing torch.

Those of the waiting clock are the same as in `protege.deploy`; a test compares them.
"""

PATH_CLOCKS = ("fixed", "waiting")
"""What `env.path_follower_params.clock` may be: the path's point moves on with time, or it waits for the robot."""
OFF_PATH = 2.0
"""m: an evaluated episode fails when the pelvis is further than this from the path's point of the time."""

# What is said below holds for the waiting clock alone.
STANDSTILL = 0.6
"""m: the clock goes at the rate max(0, 1 - d / STANDSTILL), where d is how far the pelvis is behind or beside the path's point."""
AHEAD = 0.1
"""s, over which the path's direction is taken. A robot that is ahead along it does not slow the clock: that would put it further
ahead."""
ASTRAY = 1.0
"""m: further from the path's point than this, a robot is astray."""
ASTRAY_TIME = 2.0
"""s: who is astray for so long has lost the path."""
ARRIVED = 0.5
"""m: who is this near the path's end when the clock has come there has arrived."""
TIME_LIMIT = 1.5
"""Times the path's duration: who has not arrived by then is late."""
