"""Are the statistics of comparison right where the truth is known?  Simulated runs, and control runs."""
