"""`harness ablate --list`: every study that ships, its question, what it would cost here, and what is recorded."""

from __future__ import annotations

from pathlib import Path

from harness.records.runs import status_of
from harness.studies.cost_estimate import finished_runs, total_seconds
from harness.studies.fairness.tuning import planned_runs
from harness.studies.planned_run import PlannedRun
from harness.studies.study import Study, load, names

COLLECTION = "deepseekmath"  # a folder under OUT that holds several studies' folders


def list_studies(out: str, workers: int = 1) -> list[str]:
    """One line per study: name, question, cost of what is left, record under OUT or OUT/deepseekmath.

    The cost is estimated from finished runs under OUT; "unknown" where no run of the model has finished.
    """
    if workers < 1:
        raise ValueError(f"workers: at least 1, not {workers}")
    finished = finished_runs(out)
    lines = []
    for study in map(load, names()):
        root, left, total = _recorded(study, out)
        seconds = total_seconds(left, root, finished)
        time = "unknown" if seconds is None else f"about {seconds / 60 / workers:.0f} min"
        cost = f"{len(left)} runs to do, {time}" if left else "nothing to do"
        done = total - len(left)
        record = f"{done} of {total} runs in {root}/{study.name}" if done else "no record"
        lines.append(f"{study.name}: {study.question}  [{cost}; {record}]")
    return lines


def _recorded(study: Study, out: str) -> tuple[str, list[PlannedRun], int]:
    """The root under which most of its runs have finished, those that have not, and how many it has, with trials."""
    candidates = []
    for root in (out, f"{out}/{COLLECTION}"):
        runs = planned_runs(study, root)  # the fields that trials will select change no cost
        left = [run for run in runs if status_of(Path(root, run.path)) != "finished"]
        candidates.append((root, left, len(runs)))
    return min(candidates, key=lambda candidate: len(candidate[1]))
