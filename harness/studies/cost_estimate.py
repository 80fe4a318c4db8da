"""How long runs will take on this machine, estimated from finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records.runs import read_record, run_folders
from harness.records.schema import check_shape
from harness.studies.planned_run import PlannedRun


@dataclass(frozen=True)
class FinishedRun:
    """What it was, what it spent, and how long it took, evaluations included."""

    folder: Path  # of its arm
    model: str
    algo: str
    spend: Mapping[str, float]
    seconds: float


def finished_runs(*roots: str) -> list[FinishedRun]:
    """Every finished run under the roots whose record can be read.  The estimate does without broken records; the
    command that needs one of them names it."""
    runs: dict[Path, FinishedRun] = {}
    for folder in (folder for root in roots for folder in run_folders(Path(root))):
        try:
            record = read_record(folder)
            check_shape(record, "cost")
        except ValueError:
            continue
        if record is not None and record["status"] == "finished":
            seconds = sum(float(phase["seconds"]) for phase in record["phases"].values())
            model = record["config"]["model"]
            runs[folder] = FinishedRun(folder.parent, model, record["algo"], record["spend"], seconds)
    return list(runs.values())


def predicted_seconds(run: PlannedRun, out: str, finished: Sequence[FinishedRun] | None = None) -> float | None:
    """The run's budget times the mean seconds per unit of the nearest finished runs of its model: those of its arm,
    else of its algorithm, else of any algorithm.  None where no run of the model has finished.

    `finished` are the runs to estimate from, by default those under OUT.
    """
    config = run.config(out)
    budget = config.parsed_budget
    candidates = finished_runs(out) if finished is None else finished
    same_model = [f for f in candidates if f.model == config.model and f.spend.get(budget.unit)]
    same_arm = [f for f in same_model if f.folder == Path(out, run.folder)]
    nearest = same_arm or [f for f in same_model if f.algo == config.algo_name] or same_model
    rates = [f.seconds / f.spend[budget.unit] for f in nearest]
    return budget.limit * sum(rates) / len(rates) if rates else None


def total_seconds(runs: Sequence[PlannedRun], out: str, finished: Sequence[FinishedRun]) -> float | None:
    """Seconds of all runs, one after another.  None where those of one are unknown."""
    by_folder: dict[str, float | None] = {}  # runs of one folder differ in their seed alone
    for run in runs:
        if run.folder not in by_folder:
            by_folder[run.folder] = predicted_seconds(run, out, finished)
    seconds = [by_folder[run.folder] for run in runs]
    return None if None in seconds else sum(x for x in seconds if x is not None)
