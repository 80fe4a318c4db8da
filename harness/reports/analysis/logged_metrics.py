"""What the rounds logged, by quarter of the budget: where groups go silent, from where on the clip acts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.reports.loading import Results, Run

QUARTERS = 4


@dataclass(frozen=True)
class Logged:
    """One number of metrics.jsonl."""

    metric: str
    mean: dict[str, list[float | None]]  # by arm and quarter: over completions, then seeds; None where no round has it

    @property
    def known(self) -> bool:
        """Whether any round of any arm has it."""
        return any(x is not None for quarters in self.mean.values() for x in quarters)


def logged(results: Results) -> list[Logged]:
    """A row a metric that the study's report asks for, in its order."""
    asked = results.study.report.logged
    arms = {arm: [results.runs[arm][s] for s in results.seeds(arm)] for arm in results.runs} if asked else {}
    return [Logged(m, {arm: _quarters(m, runs) for arm, runs in arms.items() if runs}) for m in asked]


def names(results: Results) -> list[str]:
    """Everything that could have been asked for."""
    return sorted({name for run in results if run.finished for round_ in run.metrics() for name in round_})


def _quarters(metric: str, runs: Iterable[Run]) -> list[float | None]:
    means_SQ = [_run(metric, run) for run in runs]
    return [_mean((x, 1.0) for x in of if x is not None) for of in zip(*means_SQ, strict=True)]


def _run(metric: str, run: Run) -> list[float | None]:
    """A round belongs to the quarter in which it ends, what is overspent to the last, and counts by its completions:
    a budget in tokens ends in rounds of ever fewer.  A round that draws none (offline training) counts as one."""
    found: list[list[tuple[float, float]]] = [[] for _ in range(QUARTERS)]
    before = 0.0
    for round_ in run.metrics():
        x, drawn = round_.get(metric), round_.get("spend/completions", 0.0)
        if isinstance(x, int | float) and math.isfinite(x):
            quarter = min(max(math.ceil(QUARTERS * round_["budget/fraction"]), 1), QUARTERS) - 1
            found[quarter].append((x, max(drawn - before, 1.0)))
        before = drawn
    return [_mean(of) for of in found]


def _mean(weighted: Iterable[tuple[float, float]]) -> float | None:
    kept = list(weighted)
    return float(np.average([x for x, _ in kept], weights=[w for _, w in kept])) if kept else None
