"""Do the intervals cover what they should?  Simulations and control runs.

calibrate      `harness calibrate`: the simulation, and the page
controls       what the comparison says of real runs with a known truth
control_runs   reading these runs
"""
