"""Accuracy at a budget, where arms are compared on the way to its end.

An evaluation falls on the first round that reaches its fraction, so up to a round late, and rounds differ between arms
and seeds.  What stands at the fraction itself is read between a run's points, by straight lines over what each of them
had spent; the start and the end are measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.reports.loading import Key, Results, Run


def share(run: Run, fraction: float) -> float:
    """Of the budget: what had been spent when the point was measured."""
    budget = run.record["budget"]
    return float(run.spend(fraction)[budget["unit"]]) / float(budget["limit"])


def value_SF(results: Results, arm: str, key: Key, fractions: list[float], seeds: list[int]) -> np.ndarray:
    """Values [S, F] of an arm at these fractions of the budget.  Raises ValueError where a run lacks one of them."""
    measured_SF = results.value_SF(arm, key, fractions, seeds)  # names the run that lacks one
    rows = []
    for seed, measured_F in zip(seeds, measured_SF, strict=True):
        run = results.runs[arm][seed]
        points = sorted((share(run, f), f, y) for (f, k), y in run.values().items() if k == key)
        read_F = np.interp(fractions, [x for x, _, _ in points], [y for _, _, y in points])
        rows.append(np.where(np.isin(fractions, (0.0, 1.0)), measured_F, read_F))
    return np.array(rows, dtype=np.float64).reshape(measured_SF.shape)


@dataclass(frozen=True)
class Late:
    """The point that was measured the furthest behind its fraction, as a share of the budget."""

    run: str
    fraction: float
    share: float


def late(results: Results) -> Late | None:
    """None where no point lies between the start and the end."""
    found = [
        Late(f"{run.arm} seed {run.seed}", f, share(run, f) - f)
        for run in results
        if run.finished
        for f in results.fractions
        if 0 < f < 1
    ]
    return max(found, key=lambda point: point.share) if found else None
