"""Tests of a study's hypotheses (claims of papers) on its records.  Numbers here, words in `render.text`.

Each hypothesis asks for a contrast (`contrasts.py`; `harness.studies.schema.Hypothesis` defines which), which pairs of
arms may share.  It is *supported*, *contradicted* or *undecided*, by the contrast's interval and the study's margin.
"""

from __future__ import annotations

from dataclasses import dataclass

from evals.statistics.comparison import Comparison, compare_pairs, paired
from harness.reports.analysis.contrasts import Contrast, Decisions, of_claim
from harness.reports.loading import Results
from harness.studies.schema import START, Hypothesis

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
        """*supported*, *contradicted* or *undecided*; before every planned seed has ended, none of these: stopping as
        soon as a test is significant inflates the error rate."""
        if self.missing:
            return f"not measured: {self.missing}"
        if self.ended < self.planned:
            return f"not yet run: {self.ended} of {self.planned} seeds"
        verdict = claim_verdict(self.hypothesis.expect, self.comparison, self.margin)
        return f"{verdict}; a run of {self.failed} of {self.ended} seeds failed" if self.failed else verdict


def claim_verdict(expect: str, comparison: Comparison, margin: float) -> str:
    """The verdict on a claim, by the interval low..high of the contrast of its two sides.

    | claim     | supported                  | contradicted                             |
    |-----------|----------------------------|------------------------------------------|
    | alike     | -margin < low, high < margin | low > margin or high < -margin         |
    | not_above | high < margin              | low > margin                             |
    | not_below | -margin < low              | high < -margin                           |
    | others    | low > 0                    | high < -margin                           |

    Everything else is undecided, also a contrast without an interval.  So a claim is contradicted only where the whole
    interval lies beyond the margin, and never for a difference that is separated from 0 and does not matter.  A claim
    of a difference says whether its interval lies within the margin.
    """
    low, high = comparison.low, comparison.high  # nan without an interval: every comparison with it is false
    within = -margin < low and high < margin
    supported, contradicted = {
        "alike": (within, low > margin or high < -margin),
        "not_above": (high < margin, low > margin),
        "not_below": (-margin < low, high < -margin),
    }.get(expect, (low > 0, high < -margin))
    verdict = "supported" if supported else "contradicted" if contradicted else "undecided"
    difference = expect not in ("alike", "not_above", "not_below")
    return f"{verdict}, within the margin" if difference and within and not contradicted else verdict


def hypothesis_contrasts(results: Results) -> list[Contrast | None]:
    """The contrast of each hypothesis; None where the records cannot answer it yet."""
    measured = any(run.finished for run in results)
    tasks = [_task(results, h)[0] if measured else None for h in results.study.hypotheses]
    return [None if t is None else of_claim(h, t) for h, t in zip(results.study.hypotheses, tasks, strict=True)]


def evaluate_hypotheses(results: Results, decisions: Decisions | None = None) -> list[HypothesisResult]:
    """The result of every hypothesis, in the study's order.  Raises ValueError if a run lacks what others have."""
    margin, contrasts = results.study.report.margin / 100, hypothesis_contrasts(results)
    if decisions is None:
        decisions = Decisions(results, margin)
        decisions.decide(c for c in contrasts if c is not None)
    rows = []
    for h, contrast in zip(results.study.hypotheses, contrasts, strict=True):
        ended, planned = _progress(results, h)
        task, missing = h.measure, ""
        if contrast is not None:
            task, comparison = contrast.place[0], decisions.of(contrast)
        else:
            comparison = compare_pairs([paired([], [])], margin)[0]
            valid = _task(results, h)[1] if any(run.finished for run in results) else None
            if valid is not None:
                missing = f"no set '{h.measure}' with {h.metric} here; valid: {', '.join(valid) or 'none'}"
        failed = 0 if missing or ended < planned else ended - comparison.pair.n
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


def _task(results: Results, h: Hypothesis) -> tuple[str | None, list[str]]:
    """The evaluation set of the hypothesis (None if the records do not have it), and the sets that the records have."""
    if h.k is None:
        valid, default = [t.name for t in results.tasks], results.endpoint
    else:
        valid = list(dict.fromkeys(task for task, metric in results.at_k if metric == h.metric))
        default = valid[0] if valid else ""
    task = default if h.measure == "in" else h.measure
    return (task if task in valid else None), valid
