"""Training metrics by quarter of the budget: for example, when groups become zero-variance or clipping sets in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.records.runs import rounds_place
from harness.reports.loading import Results, RunRecord

QUARTERS = 4


@dataclass(frozen=True)
class LoggedMetric:
    """One metric of metrics.jsonl."""

    metric: str
    mean: dict[str, list[float | None]]  # per arm and quarter: over completions, then seeds; None if no round has it

    @property
    def known(self) -> bool:
        """Whether any round of any arm logged it."""
        return any(x is not None for quarters in self.mean.values() for x in quarters)


def logged_metrics(results: Results) -> list[LoggedMetric]:
    """The metrics that the study's report requests, in its order."""
    requested = results.study.report.logged
    arms = {arm: [results.runs[arm][s] for s in results.seeds(arm)] for arm in results.runs} if requested else {}
    return [LoggedMetric(m, {arm: _quarters(m, runs) for arm, runs in arms.items() if runs}) for m in requested]


def metric_names(results: Results) -> list[str]:
    """Every metric that any finished run logged."""
    return sorted({name for run in results if run.finished for round_ in run.metrics() for name in round_})


def _quarters(metric: str, runs: Iterable[RunRecord]) -> list[float | None]:
    means_SQ = [_run_quarters(metric, run) for run in runs]
    return [_mean((x, 1.0) for x in mean_S if x is not None) for mean_S in zip(*means_SQ, strict=True)]


def _run_quarters(metric: str, run: RunRecord) -> list[float | None]:
    """Means weighted by completions: with a budget in tokens, later rounds have fewer of them.

    A round belongs to the quarter in which it ends; overspending belongs to the last quarter.  A round without
    completions (offline training) has the weight 1.
    """
    weighted: list[list[tuple[float, float]]] = [[] for _ in range(QUARTERS)]
    before = 0.0
    for round_ in run.metrics():
        x, completions = round_.get(metric), round_.get("spend/completions", 0.0)
        if isinstance(x, int | float) and math.isfinite(x):
            fraction = round_.get("budget/fraction", math.nan)
            if not math.isfinite(fraction):
                raise ValueError(f"{rounds_place(run.folder)}: a round with '{metric}' has no budget/fraction")
            quarter = min(max(math.ceil(QUARTERS * fraction), 1), QUARTERS) - 1
            weighted[quarter].append((x, max(completions - before, 1.0)))
        before = completions
    return [_mean(pairs) for pairs in weighted]


def _mean(weighted: Iterable[tuple[float, float]]) -> float | None:
    pairs = list(weighted)
    return float(np.average([x for x, _ in pairs], weights=[w for _, w in pairs])) if pairs else None
