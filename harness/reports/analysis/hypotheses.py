"""What a study's records say of a paper's claims.  Numbers here, words in `wording`.

Each hypothesis is a paired difference d_s, seed by seed (`harness.asked.Hypothesis` says which), whose t-interval over
seeds decides.  All of a study's are one family: Holm and simultaneous intervals, as pairs of arms are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from evals.statistics.comparison import Verdict, judge, paired
from harness.reports.analysis import interpolation
from harness.reports.loading import Key, Results
from harness.studies.schema import ALONE, START, Hypothesis

ENDED = ("finished", "failed")  # a failed run is a result: nobody waits for it


@dataclass(frozen=True)
class Judged:
    """A hypothesis and what came of it.  `missing` says what the records lack, and is empty where they lack nothing."""

    hypothesis: Hypothesis
    task: str  # the set that was read
    verdict: Verdict
    margin: float  # share of accuracy within which arms are equivalent
    ended: int  # seeds for which nothing is left to run
    planned: int
    missing: str = ""
    failed: int = 0  # of the seeds that have ended: they are in no difference, and are not passed over in silence

    @property
    def word(self) -> str:
        """*reproduced*, *not reproduced* or *not separated*; until every planned seed has ended, none of them: whoever
        looks at each new seed and may stop finds too much."""
        if self.missing:
            return f"not measured: {self.missing}"
        if self.ended < self.planned:
            return f"not yet run: {self.ended} of {self.planned} seeds"
        said = word(self.hypothesis.expect, self.verdict, self.margin)
        return f"{said}; a run of {self.failed} of {self.ended} seeds failed" if self.failed else said


def word(expect: str, verdict: Verdict, margin: float) -> str:
    """The verdict on a claim, of the verdict on its difference.

    alike: reproduced where the interval lies within the margin, not reproduced where it is separated from 0 besides.
    not_above and not_below: the same, of one end of the interval and of one side of 0.
    All others claim a difference above 0: reproduced where it is separated and positive, and where it is shown to be
    within the margin too, that is said; not reproduced where it is separated and negative, or shown to lie within the
    margin and no more.  Whatever has no interval, or one that says neither, is not separated.
    """
    equal = -margin < verdict.low and verdict.high < margin  # false where there is no interval
    apart = verdict.kind in ("A better", "B better")
    if expect == "not_above":
        equal, apart = verdict.high < margin, verdict.kind == "A better"
    if expect == "not_below":
        equal, apart = -margin < verdict.low, verdict.kind == "B better"
    if expect in ("alike", "not_above", "not_below"):
        return "reproduced" if equal else "not reproduced" if apart else "not separated"
    if verdict.kind == "A better":
        return "reproduced, within the margin" if equal else "reproduced"
    return "not reproduced" if verdict.kind == "B better" or equal else "not separated"


def judged(results: Results) -> list[Judged]:
    """Every hypothesis of the study, judged as one family.  Raises ValueError where a run lacks what others have."""
    margin, asked = results.study.report.margin / 100, results.study.hypotheses
    found = [_differences(results, h) for h in asked]
    verdicts = judge([paired(d_S, np.zeros_like(d_S)) for _, d_S, _ in found], margin)
    rows = []
    for h, verdict, (task, d_S, missing) in zip(asked, verdicts, found, strict=True):
        ended, planned = _progress(results, h)
        failed = 0 if missing or ended < planned else ended - len(d_S)
        rows.append(Judged(h, task, verdict, margin, ended, planned, missing, failed))
    return rows


def _progress(results: Results, h: Hypothesis) -> tuple[int, int]:
    """(ended, planned) of the seeds that all of its arms share."""
    return progress(results, [arm for arm in h.arms if arm != START])


def progress(results: Results, arms: list[str]) -> tuple[int, int]:
    planned = set.intersection(*(set(results.study.seeds_of(arm)) for arm in arms))
    ended = [
        seed
        for seed in planned
        if all(seed in results.runs[a] and results.runs[a][seed].record["status"] in ENDED for a in arms)
    ]
    return len(ended), len(planned)


def _differences(results: Results, h: Hypothesis) -> tuple[str, np.ndarray, str]:
    """(set, d_S, what is missing)."""
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
        # within an arm: the point as it was measured, where an iteration ended; between arms: at one budget
        return (results.value_SF if h.expect in ALONE else partial(interpolation.value_SF, results))(
            arm, key, [at], seeds
        )

    a, b = h.arms[0], h.arms[-1]
    if h.expect == "gain":
        d_S1 = value_S(a, h.at) - value_S(a, h.since)
    elif h.expect == "slows":
        d_S1 = 2 * value_S(a, h.at) - value_S(a, h.since) - value_S(a, 1.0)
    elif h.expect == "gap_closes":
        one = f"{h.metric.partition('@')[0]}@1"
        d_S1 = (value_S(a, h.at, one) - value_S(b, h.at, one)) - (value_S(a, h.at) - value_S(b, h.at))
    else:
        d_S1 = value_S(a, h.at) - value_S(b, h.at)
    return task, d_S1[:, 0], ""


def _task(results: Results, h: Hypothesis) -> tuple[str | None, list[str]]:
    """The set that it names, None where the records have none such; and the sets that they have."""
    if h.k is None:
        valid, usual = [t.name for t in results.tasks], results.endpoint
    else:
        valid = list(dict.fromkeys(task for task, metric in results.at_k if metric == h.metric))
        usual = valid[0] if valid else ""
    asked = usual if h.measure == "in" else h.measure
    return (asked if asked in valid else None), valid
