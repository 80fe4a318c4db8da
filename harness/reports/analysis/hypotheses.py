"""Tests of a study's hypotheses (claims of papers) on its records.  Numbers here, words in `render.text`.

Each hypothesis is a paired difference d_s per seed (`harness.studies.schema.Hypothesis` defines which), tested by its
t-interval over seeds.  All hypotheses of a study are one family: Holm and simultaneous intervals, as for pairs of arms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from evals.statistics.comparison import Comparison, compare_pairs, paired
from harness.reports.analysis import interpolation
from harness.reports.loading import Key, Results
from harness.studies.schema import ALONE, START, Hypothesis

ENDED = ("finished", "failed")  # a failed run is a result: it is not run again


@dataclass(frozen=True)
class HypothesisResult:
    """A hypothesis and its test.  `missing` names what the records lack, and is empty if they lack nothing."""

    hypothesis: Hypothesis
    task: str  # the evaluation set
    comparison: Comparison
    margin: float  # difference in accuracy within which arms are equivalent
    ended: int  # seeds at which every arm has finished or failed
    planned: int
    missing: str = ""
    failed: int = 0  # seeds with a failed run: not in the differences, but reported

    @property
    def verdict(self) -> str:
        """*reproduced*, *not reproduced* or *not separated*; before every planned seed has ended, none of these:
        stopping as soon as a test is significant inflates the error rate."""
        if self.missing:
            return f"not measured: {self.missing}"
        if self.ended < self.planned:
            return f"not yet run: {self.ended} of {self.planned} seeds"
        verdict = claim_verdict(self.hypothesis.expect, self.comparison, self.margin)
        return f"{verdict}; a run of {self.failed} of {self.ended} seeds failed" if self.failed else verdict


def claim_verdict(expect: str, comparison: Comparison, margin: float) -> str:
    """The verdict on a claim, given the comparison of its two sides.

    alike: reproduced if the interval lies within the margin, else not reproduced if it is separated from 0.
    not_above, not_below: the same with one end of the interval and one sign.
    All others claim a positive difference: reproduced if it is separated and positive ("within the margin" is added if
    the interval also lies within it); not reproduced if it is separated and negative, or not separated and within the
    margin.  Everything else is not separated, also a difference without an interval.
    """
    low, high, kind = comparison.low, comparison.high, comparison.kind
    equivalent = -margin < low and high < margin  # False without an interval, whose ends are nan
    separated = kind in ("A better", "B better")
    if expect == "not_above":
        equivalent, separated = high < margin, kind == "A better"
    if expect == "not_below":
        equivalent, separated = -margin < low, kind == "B better"
    if expect in ("alike", "not_above", "not_below"):
        return "reproduced" if equivalent else "not reproduced" if separated else "not separated"
    if kind == "A better":
        return "reproduced, within the margin" if equivalent else "reproduced"
    return "not reproduced" if kind == "B better" or equivalent else "not separated"


def evaluate_hypotheses(results: Results) -> list[HypothesisResult]:
    """Test every hypothesis of the study, as one family.  Raises ValueError if a run lacks what others have."""
    margin, hypotheses = results.study.report.margin / 100, results.study.hypotheses
    differences = [_differences(results, h) for h in hypotheses]
    comparisons = compare_pairs([paired(d_S, np.zeros_like(d_S)) for _, d_S, _ in differences], margin)
    rows = []
    for h, comparison, (task, d_S, missing) in zip(hypotheses, comparisons, differences, strict=True):
        ended, planned = _progress(results, h)
        failed = 0 if missing or ended < planned else ended - len(d_S)
        rows.append(HypothesisResult(h, task, comparison, margin, ended, planned, missing, failed))
    return rows


def _progress(results: Results, h: Hypothesis) -> tuple[int, int]:
    """(ended, planned) seeds, among those that all of its arms have."""
    return progress(results, [arm for arm in h.arms if arm != START])


def progress(results: Results, arms: list[str]) -> tuple[int, int]:
    """(ended, planned) seeds that all of these arms have in common."""
    planned = set.intersection(*(set(results.study.seeds_of(arm)) for arm in arms))
    ended = [
        seed
        for seed in planned
        if all(seed in results.runs[a] and results.runs[a][seed].record["status"] in ENDED for a in arms)
    ]
    return len(ended), len(planned)


def _differences(results: Results, h: Hypothesis) -> tuple[str, np.ndarray, str]:
    """(evaluation set, d_S, what is missing)."""
    if not any(run.finished for run in results):
        return h.measure, np.zeros(0), ""
    task, valid = _task(results, h)
    if task is None:
        return h.measure, np.zeros(0), f"no set '{h.measure}' with {h.metric} here; valid: {', '.join(valid) or 'none'}"
    arms = [arm for arm in h.arms if arm != START]
    seeds = results.seeds(*arms)

    def value_S(arm: str, at: float, metric: str = h.metric) -> np.ndarray:
        key: Key = (task, "strict", metric)
        if arm == START:
            return results.value_SF(arms[0], key, [0.0], seeds)
        # within an arm: as measured, at the end of an iteration; between arms: interpolated to equal budgets
        read = results.value_SF if h.expect in ALONE else partial(interpolation.value_SF, results)
        return read(arm, key, [at], seeds)

    a, b = h.arms[0], h.arms[-1]
    if h.expect == "gain":
        d_S1 = value_S(a, h.at) - value_S(a, h.since)
    elif h.expect == "slows":
        d_S1 = 2 * value_S(a, h.at) - value_S(a, h.since) - value_S(a, 1.0)
    elif h.expect == "gap_closes":
        at_1 = f"{h.metric.partition('@')[0]}@1"
        d_S1 = (value_S(a, h.at, at_1) - value_S(b, h.at, at_1)) - (value_S(a, h.at) - value_S(b, h.at))
    else:
        d_S1 = value_S(a, h.at) - value_S(b, h.at)
    return task, d_S1[:, 0], ""


def _task(results: Results, h: Hypothesis) -> tuple[str | None, list[str]]:
    """The evaluation set of the hypothesis (None if the records do not have it), and the sets that the records have."""
    if h.k is None:
        valid, default = [t.name for t in results.tasks], results.endpoint
    else:
        valid = list(dict.fromkeys(task for task, metric in results.at_k if metric == h.metric))
        default = valid[0] if valid else ""
    task = default if h.measure == "in" else h.measure
    return (task if task in valid else None), valid
