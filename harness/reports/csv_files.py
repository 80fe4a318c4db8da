"""What a report leaves for other programs: table.csv and curves.csv, at full precision; empty cells: missing values."""

from __future__ import annotations

from harness.accounting.budget import UNITS
from harness.accounting.format import without_controls
from harness.reports.analysis.summary import Findings
from harness.reports.render.arms import OUTCOMES, outcome


def table(findings: Findings) -> str:
    """One row per arm: accuracy at the end with intervals, how completions ended, spend; fractions and bytes."""
    rows = []
    for a in findings.arms.values():
        row: dict[str, object] = {"arm": a.name, "seeds": a.finished}
        for task in (t.name for t in findings.results.tasks):
            low, high = a.curves[task].interval_F[-1] or (None, None)
            row |= {task: a.curves[task].mean_F[-1], f"{task}_low": low, f"{task}_high": high}
        row |= {name: outcome(findings, a.name, *key) for name, key in OUTCOMES.items() if name != "strict"}
        row |= {"sd": a.sd, "iqm": a.iqm, "budget_to_level": a.budget_to_level, "zero_variance": a.zero_variance}
        row |= {"collapsed": a.collapsed, **{u: a.spend_F[u][-1] for u in UNITS}, "peak_bytes": a.peak_bytes}
        rows.append(row)
    return _csv(rows)


def curves(findings: Findings) -> str:
    """The learning curves: one row per arm, evaluation set and point, with the spend at which it was measured; strict
    accuracy as a mean over seeds with its t-interval, and the value of every seed."""
    rows, results = [], findings.results
    numbers = sorted({seed for arm in findings.arms for seed in results.seeds(arm)})
    unit = str(results.example.record["budget"]["unit"])
    for arm in findings.arms.values():
        for task, curve in arm.curves.items():
            seeds = results.seeds(arm.name)
            value_SF = results.value_SF(arm.name, (task, "strict", "exact_match"), results.fractions, seeds)
            for i, fraction in enumerate(results.fractions):
                low, high = curve.interval_F[i] or (None, None)
                row: dict[str, object] = {"arm": arm.name, "set": task, "fraction": fraction}
                row |= {unit: arm.spend_F[unit][i], "mean": curve.mean_F[i], "low": low, "high": high}
                own = dict(zip(seeds, value_SF[:, i].tolist(), strict=True))
                rows.append(row | {f"seed{seed}": own.get(seed) for seed in numbers})
    return _csv(rows)


def _csv(rows: list[dict[str, object]]) -> str:
    from pandas import DataFrame

    return without_controls(str(DataFrame(rows).to_csv(index=False, lineterminator="\n")))
