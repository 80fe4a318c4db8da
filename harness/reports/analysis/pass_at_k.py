"""pass@k and maj@k at the end of training against the start model: does training add ability or sharpen?

2402.03300 Fig. 7: RL raises maj@K and not pass@K.  2504.13837: the start model overtakes at large K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.statistics.estimates import t_interval
from harness.reports.loading import Key, Results

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class AtK:
    """pass@k or maj@k on one evaluation set: means over seeds per arm."""

    task: str
    kind: str  # pass or maj
    k: int
    start: float | None  # of the start model; None if it was not sampled
    mean: dict[str, float]  # per arm
    gain: dict[str, tuple[float, Interval]]  # arm - start, paired, with its own 95 % interval; empty without a start

    @property
    def metric(self) -> str:
        return f"{self.kind}@{self.k}"


def at_k(results: Results) -> list[AtK]:
    """In the order of `results.at_k`; empty if the records have no samples."""
    rows = []
    for task, metric in results.at_k:
        key: Key = (task, "strict", metric)
        has_start = all((0.0, key) in run.values() for run in results if run.finished)
        value = {
            arm: results.value_SF(arm, key, [0.0, 1.0] if has_start else [1.0], results.seeds(arm))
            for arm in results.runs
            if results.seeds(arm)
        }
        start = float(np.concatenate([v_SF[:, 0] for v_SF in value.values()]).mean()) if has_start else None
        gained_S = {arm: v_SF[:, 1] - v_SF[:, 0] for arm, v_SF in value.items()} if has_start else {}
        kind, _, k = metric.partition("@")
        gain = {arm: (float(d_S.mean()), t_interval(d_S)) for arm, d_S in gained_S.items()}
        rows.append(AtK(task, kind, int(k), start, {arm: float(v[:, -1].mean()) for arm, v in value.items()}, gain))
    return rows


def overtaking_k(curve: list[AtK], task: str, kind: str, arm: str) -> int | None:
    """The smallest K at which the start model's mean is at least the arm's; None if the arm leads at every K.

    K = 1 means that the arm never led.  A tie counts as overtaken.
    """
    gains = sorted((x.k, x.gain[arm][0]) for x in curve if (x.task, x.kind) == (task, kind) and arm in x.gain)
    return next((k for k, gain in gains if round(gain, 12) <= 0), None)
