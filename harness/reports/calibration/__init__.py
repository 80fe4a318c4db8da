"""Are the intervals as wide as they say?  Simulation and control runs."""
