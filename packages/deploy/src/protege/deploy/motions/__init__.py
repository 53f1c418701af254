"""Motion clips on the robot's side. Most files link to core's, which need numpy alone."""
