"""Where a gain comes from: problems that the start solved sometimes, or problems that it never solved.

With n samples of each problem at the start and at the end (`eval_samples`), the start's first half says which problems
are *solved* (at least once) and its second half what they scored: so that an unchanged policy gains 0 on both sides in
expectation, and the two parts add up to the gain in pass@1:

    reliability = 1/I sum over solved  (p_end,i - p_start,i),       coverage = 1/I sum over the others (the same)

p over the end's n samples and the start's second half.  `never`: the share of problems that none of the start's n
samples solved; `now`: the share of problems that are among these, and that one of the end's n samples solves; `lost`:
those that the start solved and none of the end's samples does.  Shares of so many samples: more of them would leave
fewer problems that were never solved, and `now` is not 0 for an unchanged policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evals.statistics.estimates import t_interval
from harness.reports.loading import Results

Interval = tuple[float, float] | None
PARTS = ("gain", "reliability", "coverage", "never", "now", "lost")


@dataclass(frozen=True)
class Coverage:
    """One arm on one set of repeated problems: means over seeds, with 95 % t-intervals of the three gains."""

    task: str
    samples: int
    arm: str
    mean: Mapping[str, float]  # by PARTS
    interval: Mapping[str, Interval]


@dataclass(frozen=True)
class Average:
    """avg@K of one arm on one set at the end: a mean over seeds, and its two standard errors."""

    task: str
    k: int
    arm: str
    mean: float
    interval: Interval  # over seeds
    stderr_problems: float  # of one run; mean over seeds
    stderr_sampling: float


def split_gain(start_IN: np.ndarray, end_IN: np.ndarray) -> dict[str, float]:
    """The parts of one run's gain, from outcomes (1 right, 0 wrong) of n samples of I problems.  Needs n >= 2."""
    half = start_IN.shape[1] // 2
    solved_I = start_IN[:, :half].any(1)
    gained_I = end_IN.mean(1) - start_IN[:, half:].mean(1)
    never_I, ends_I = ~start_IN.any(1), end_IN.any(1)
    return {
        "gain": float(gained_I.mean()),
        "reliability": float(np.where(solved_I, gained_I, 0).mean()),
        "coverage": float(np.where(solved_I, 0, gained_I).mean()),
        "never": float(never_I.mean()),
        "now": float((never_I & ends_I).mean()),
        "lost": float((~never_I & ~ends_I).mean()),
    }


def coverage(results: Results) -> list[Coverage]:
    """By set and arm; empty where problems were not sampled repeatedly at both ends, or outcomes were not kept."""
    rows = []
    for task in dict.fromkeys(task for task, metric in results.at_k if metric == "pass@1"):
        for arm in results.runs:
            found = [split for seed in results.seeds(arm) if (split := _of_run(results, arm, task, seed)) is not None]
            if found and len(found) == len(results.seeds(arm)):
                value = {part: np.array([split[part] for split, _ in found]) for part in PARTS}
                mean = {part: float(x.mean()) for part, x in value.items()}
                spans = {part: t_interval(value[part]) for part in ("gain", "reliability", "coverage")}
                rows.append(Coverage(task, found[0][1], arm, mean, spans))
    return rows


def _of_run(results: Results, arm: str, task: str, seed: int) -> tuple[dict[str, float], int] | None:
    run = results.runs[arm][seed]
    counted = [r["n"] for r in run.record["evals"] if (r["task"], r["metric"]) == (task, "pass@1")]
    hits = [results.hit_SI(arm, task, at, [seed])[0] for at in (0.0, 1.0)]
    if not counted or any(len(h) == 0 or len(h) % counted[0] for h in hits) or len(hits[0]) != len(hits[1]):
        return None
    start_IN, end_IN = (h.reshape(counted[0], -1) for h in hits)
    return (split_gain(start_IN, end_IN), start_IN.shape[1]) if start_IN.shape[1] > 1 else None


def averages(results: Results) -> list[Average]:
    """By set and arm; empty where no set was averaged over samples."""
    rows = []
    for task in results.tasks:
        k = results.repeats(task.name)
        for arm in results.runs if k > 1 else ():
            if seeds := results.seeds(arm):
                keys = [(task.name, "strict", m) for m in (f"avg@{k}", "stderr_problems", "stderr_sampling")]
                value, problems, sampling = (results.value_SF(arm, key, [1.0], seeds)[:, 0] for key in keys)
                spread = float(problems.mean()), float(sampling.mean())
                rows.append(Average(task.name, k, arm, float(value.mean()), t_interval(value), *spread))
    return rows
