"""The reward models that were trained during runs: quality on held-out problems, and cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.accounting.format import count, percent, point
from harness.reports.analysis.summary import Findings
from harness.reports.loading import RunRecord
from harness.reports.render.table import Table

COLUMNS = [
    "arm", "trained at", "seeds", "target", "held out", "correct", "accuracy", "AUC", "calibration error", "budget",
]  # fmt: skip
NOTE = (
    "Means over the seeds that trained a reward model.  Held out: number of completions or steps, all seeds; correct: "
    "the fraction of them with a positive label.  Accuracy at a threshold of 1/2; AUC 0.5 is chance; calibration error "
    "with ten bins.  Budget: the fraction spent on labels and training."
)


def reward_model_table(findings: Findings) -> Table | None:
    """One row per arm, training and target; None if no run trained a reward model."""
    results, rows = findings.results, []
    for arm in results.runs:
        runs = [results.runs[arm][seed] for seed in results.seeds(arm)]
        for number in range(max((len(_trainings(run)) for run in runs), default=0)):
            done = [(run, trainings[number]) for run in runs if number < len(trainings := _trainings(run))]
            done = [(run, training) for run, training in done if "skipped" not in training]
            for target in dict.fromkeys(name for _, training in done for name in training["held_out"]):
                rows.append([arm, *_row(done, target)])
    return Table("Reward models", COLUMNS, rows, NOTE) if rows else None


def _trainings(run: RunRecord) -> list[dict[str, Any]]:
    return list(run.record.get("reward_model", []))


def _row(done: list[tuple[RunRecord, dict[str, Any]]], target: str) -> list[str]:
    held = [training["held_out"][target] for _, training in done if target in training["held_out"]]
    budgets = [(run.record["budget"], training["spend"]) for run, training in done]
    return [
        point(round(_mean(training["fraction"] for _, training in done) or 0, 2)),
        str(len(done)),
        target,
        count(sum(x["n"] for x in held)),
        percent(_mean(x["base_rate"] for x in held)),
        percent(_mean(x["accuracy"] for x in held)),
        "-" if (auc := _mean(x["auc"] for x in held)) is None else f"{auc:.2f}",
        "-" if (error := _mean(x["calibration_error"] for x in held)) is None else f"{error:.3f}",
        percent(_mean(spend[b["unit"]] / b["limit"] for b, spend in budgets if b["unit"] in spend)),
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of the known values: an AUC is None if all labels are equal."""
    known = [x for x in values if x is not None]
    return sum(known) / len(known) if known else None
