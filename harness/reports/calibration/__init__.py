"""Checks of the comparison statistics against a known truth.

calibrate      `calibrate`: the page of all checks
controls       control runs: what the comparison should report, and what it reports
verdicts       what a report's words are worth, by simulated studies
control_runs   `ControlRuns`: the records of control runs
"""
