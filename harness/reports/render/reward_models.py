"""The reward models that runs trained: how good, on problems that they were not trained on, and at what price."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.accounting.format import count, percent, point
from harness.reports.analysis.summary import Findings
from harness.reports.loading import Run
from harness.reports.render.tables import Table

COLUMNS = [
    "arm", "trained at", "seeds", "judged", "held out", "right", "accuracy", "AUC", "calibration error", "budget",
]  # fmt: skip
NOTE = (
    "Means over seeds; seeds whose training was skipped are in none.  Held out: completions or steps of all seeds; "
    "right: the share of them that is.  Accuracy at one half; AUC 0.5 is chance; calibration error in ten bins.  "
    "Budget: the share that labels and training took."
)


def learned(findings: Findings) -> Table | None:
    """A row an arm, training and what is judged; None where no run trained one."""
    results, rows = findings.results, []
    for arm in results.runs:
        runs = [results.runs[arm][seed] for seed in results.seeds(arm)]
        for number in range(max((len(_trainings(run)) for run in runs), default=0)):
            done = [(run, of[number]) for run in runs if number < len(of := _trainings(run))]
            done = [(run, training) for run, training in done if "skipped" not in training]
            for judged in dict.fromkeys(name for _, training in done for name in training["held_out"]):
                rows.append([arm, *_row(done, judged)])
    return Table("Reward models", COLUMNS, rows, NOTE) if rows else None


def _trainings(run: Run) -> list[dict[str, Any]]:
    return list(run.record.get("reward_model", []))


def _row(done: list[tuple[Run, dict[str, Any]]], judged: str) -> list[str]:
    held = [training["held_out"][judged] for _, training in done if judged in training["held_out"]]
    budgets = [(run.record["budget"], training["spend"]) for run, training in done]
    return [
        point(round(_mean(training["fraction"] for _, training in done) or 0, 2)),
        str(len(done)),
        judged,
        count(sum(x["n"] for x in held)),
        percent(_mean(x["base_rate"] for x in held)),
        percent(_mean(x["accuracy"] for x in held)),
        "-" if (auc := _mean(x["auc"] for x in held)) is None else f"{auc:.2f}",
        "-" if (error := _mean(x["calibration_error"] for x in held)) is None else f"{error:.3f}",
        percent(_mean(spend[b["unit"]] / b["limit"] for b, spend in budgets if b["unit"] in spend)),
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known: an AUC needs right ones and wrong ones."""
    known = [x for x in values if x is not None]
    return sum(known) / len(known) if known else None
