"""`harness ablate --list`: every study that ships, what it asks, what it would cost here, and what is recorded."""

from __future__ import annotations

from pathlib import Path

from harness.records.io import read_record
from harness.studies.cost_estimate import taken, total
from harness.studies.planned_run import Cell
from harness.studies.status import choose
from harness.studies.study import Study, load, names

SHELF = "deepseekmath"  # a folder under OUT that holds several studies' folders


def listed(out: str, workers: int = 1) -> list[str]:
    """A line a study: name, question, cost of what is left, record under OUT or OUT/deepseekmath.

    The cost goes by finished runs under OUT; "unknown" where no run of the model has finished.
    """
    if workers < 1:
        raise ValueError(f"workers: at least 1, not {workers}")
    known = taken(out)
    lines = []
    for study in map(load, names()):
        place, left, whole = _recorded(study, out)
        seconds = total(left, place, known)
        time = "unknown" if seconds is None else f"about {seconds / 60 / workers:.0f} min"
        cost = f"{len(left)} cells to run, {time}" if left else "nothing to run"
        done = whole - len(left)
        record = f"{done} of {whole} cells in {place}/{study.name}" if done else "no record"
        lines.append(f"{study.name}: {study.question}  [{cost}; {record}]")
    return lines


def _recorded(study: Study, out: str) -> tuple[str, list[Cell], int]:
    """Where most of its cells have finished, those that have not there, and how many it has, trials among them."""
    found = []
    for place in (out, f"{out}/{SHELF}"):
        try:
            chosen = choose(study, place)
        except ValueError:  # its trials have not finished: what they will choose changes no cost
            chosen = {}
        cells = [*study.trials(), *study.runs(chosen)]
        left = [cell for cell in cells if (read_record(Path(place, cell.path)) or {}).get("status") != "finished"]
        found.append((place, left, len(cells)))
    return min(found, key=lambda x: len(x[1]))
