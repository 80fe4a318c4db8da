"""pass@k and maj@k at the end of the budget, beside the start model's: does training add ability, or sharpen?

2402.03300 Fig. 7: RL lifts maj@K and not pass@K.  2504.13837 finds that start models overtake at large K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.statistics.comparison import t_interval
from harness.reports.loading import Key, Results

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class AtK:
    """One metric on one set of repeated problems: means over seeds of every arm."""

    task: str
    kind: str  # pass or maj
    k: int
    start: float | None  # of the start model, where it was sampled too
    mean: dict[str, float]  # by arm
    gain: dict[str, tuple[float, Interval]]  # arm - start, in pairs, with its own 95 % interval; none without a start

    @property
    def metric(self) -> str:
        return f"{self.kind}@{self.k}"


def at_k(results: Results) -> list[AtK]:
    """In the order of `results.at_k`; none where no samples were asked for."""
    found = []
    for task, metric in results.at_k:
        key: Key = (task, "strict", metric)
        begun = all((0.0, key) in run.values() for run in results if run.finished)
        value = {
            arm: results.value_SF(arm, key, [0.0, 1.0] if begun else [1.0], results.seeds(arm))
            for arm in results.runs
            if results.seeds(arm)
        }
        start = float(np.concatenate([v_SF[:, 0] for v_SF in value.values()]).mean()) if begun else None
        gained_S = {arm: v_SF[:, 1] - v_SF[:, 0] for arm, v_SF in value.items()} if begun else {}
        kind, _, k = metric.partition("@")
        gain = {arm: (float(d_S.mean()), t_interval(d_S)) for arm, d_S in gained_S.items()}
        found.append(AtK(task, kind, int(k), start, {arm: float(v[:, -1].mean()) for arm, v in value.items()}, gain))
    return found


def crossing(found: list[AtK], task: str, kind: str, arm: str) -> int | None:
    """The smallest K at which the start model's mean is not below the arm's; None where the arm leads at every K.

    A tie counts as caught up.  At K = 1 it says that the arm never led.
    """
    curve = sorted((x.k, x.gain[arm][0]) for x in found if (x.task, x.kind) == (task, kind) and arm in x.gain)
    return next((k for k, gain in curve if round(gain, 12) <= 0), None)
