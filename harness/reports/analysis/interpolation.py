"""Accuracy at a fraction of the budget, so that arms are compared at equal spend before the end.

An evaluation runs after the first whole round that reaches its fraction, so it is up to one round late, and rounds
differ between arms and seeds.  The value at the fraction itself is interpolated linearly between a run's evaluations,
over the budget spent at each of them.  Start and end are taken as measured.
"""

from __future__ import annotations

import numpy as np

from harness.reports.loading import Key, Results, RunRecord


def budget_fraction(run: RunRecord, fraction: float) -> float:
    """The fraction of the budget that was spent when the evaluation at `fraction` ran."""
    budget = run.record["budget"]
    return float(run.spend(fraction)[budget["unit"]]) / float(budget["limit"])


def value_SF(results: Results, arm: str, key: Key, fractions: list[float], seeds: list[int]) -> np.ndarray:
    """Values [S, F] of an arm at these fractions of the budget.  Raises ValueError if a run lacks one of them."""
    measured_SF = results.value_SF(arm, key, fractions, seeds)  # names the run that lacks one
    rows = []
    for seed, measured_F in zip(seeds, measured_SF, strict=True):
        run = results.runs[arm][seed]
        points = sorted((budget_fraction(run, f), f, y) for (f, k), y in run.values().items() if k == key)
        interpolated_F = np.interp(fractions, [x for x, _, _ in points], [y for _, _, y in points])
        rows.append(np.where(np.isin(fractions, (0.0, 1.0)), measured_F, interpolated_F))
    return np.array(rows, dtype=np.float64).reshape(measured_SF.shape)
