"""How closely runs kept to the budget: spend at the end, and delays of evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.reports.analysis.interpolation import budget_fraction
from harness.reports.loading import Results


@dataclass(frozen=True)
class Audit:
    """The run with the largest mismatch between spend and budget."""

    run: str
    mismatch: float  # left or overspent, as a fraction of the limit
    groups: float  # the same in groups of that run
    holds: bool  # within 1 % or one group


def audit_budget(results: Results) -> Audit:
    """The finished run with the largest mismatch; runs outside the tolerance come first."""
    audits = []
    for run in results:
        if run.finished:
            unit, limit = run.record["budget"]["unit"], run.record["budget"]["limit"]
            spend = run.record["spend"]
            rest, group = abs(limit - spend[unit]), spend[unit] / max(spend["prompts"] or 0, 1)
            groups = rest / group if group else math.inf
            audits.append(Audit(f"{run.arm} seed {run.seed}", rest / limit, groups, rest <= max(0.01 * limit, group)))
    return max(audits, key=lambda a: (not a.holds, a.mismatch))


@dataclass(frozen=True)
class Delay:
    """An evaluation that ran `lag` (a fraction of the budget) after its `fraction`."""

    run: str
    fraction: float
    lag: float


def largest_delay(results: Results) -> Delay | None:
    """The most delayed evaluation of all finished runs; None without evaluations between start and end."""
    delays = [
        Delay(f"{run.arm} seed {run.seed}", f, budget_fraction(run, f) - f)
        for run in results
        if run.finished
        for f in results.fractions
        if 0 < f < 1
    ]
    return max(delays, key=lambda delay: delay.lag) if delays else None
