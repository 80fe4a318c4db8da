"""Tables of repeated problems: where a gain comes from, and averages over samples."""

from __future__ import annotations

from harness.reports.analysis.summary import Findings
from harness.reports.render.table import Table
from harness.reports.render.text import bracket, points


def repeated_tables(findings: Findings) -> list[Table]:
    """Those that the records have numbers for."""
    tables = [coverage_table(findings)] if findings.coverage else []
    return [*tables, *([average_table(findings)] if findings.averages else [])]


def coverage_table(findings: Findings) -> Table:
    """One row per arm: the gain at temperature 1, split by what the start could solve."""
    rows = []
    for c in findings.coverage:
        gains = [
            f"{points(c.mean[part], sign=True)} {bracket(span)}"
            if (span := c.interval[part])
            else points(c.mean[part], True)
            for part in ("gain", "reliability", "coverage")
        ]
        rows.append([c.task, c.arm, *gains, *(points(c.mean[part]) for part in ("never", "now", "lost"))])
    samples = sorted({c.samples for c in findings.coverage})
    note = (
        f"Points, means over seeds with 95 % t-intervals, from {' or '.join(map(str, samples))} samples of each "
        "problem at the start and at the end.  Reliability: the part of the gain in pass@1 that is made on problems "
        "which the start solves; coverage: on those which it does not (by the first half of its samples; what they "
        "scored is by the second, so that an unchanged policy gains nothing on either side).  Never solved: by none of "
        "the start's samples; now solved: of all problems, those of them that a sample at the end solves; lost: solved "
        "at the start, by no sample at the end."
    )
    columns = ["set", "arm", "gain in pass@1", "reliability", "coverage", "never solved", "now solved", "lost"]
    return Table("Reliability and coverage", columns, rows, note)


def average_table(findings: Findings) -> Table:
    """One row per set and arm: avg@K with both of its variances."""
    rows = [
        [
            a.task,
            a.arm,
            f"avg@{a.k}",
            points(a.mean),
            bracket(a.interval),
            *map(_tenths, (a.stderr_problems, a.stderr_sampling)),
        ]
        for a in findings.averages
    ]
    note = (
        "Percent, means over seeds with 95 % t-intervals over seeds.  SE of one run, in points: of problems, what "
        "others would move it by; of sampling, what other samples of these problems would."
    )
    return Table(
        "Averages over samples", ["set", "arm", "metric", "value", "95 %", "SE problems", "SE sampling"], rows, note
    )


def _tenths(x: float) -> str:
    return f"{100 * x:.2f}"
