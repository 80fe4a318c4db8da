"""What cells will cost on this machine, by what finished runs have taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records.io import read_record
from harness.records.schema import FINISHED, check_shape
from harness.studies.planned_run import Cell

SHAPE = {"config": {"model": str}, "algo": str, "spend": {"*": float}, "phases": FINISHED["phases"]}  # of what is read


@dataclass(frozen=True)
class Took:
    """A finished run: what it was, what it spent, how long it took, evaluations and all."""

    folder: Path  # of its arm
    model: str
    algo: str
    spend: Mapping[str, float]
    seconds: float


def taken(*roots: str) -> list[Took]:
    """Of every finished run under the roots whose record can be read: an estimate does without the others, and what
    needs one of them names it."""
    found = {}
    for file in (file for root in roots for file in sorted(Path(root).glob("**/record.json"))):
        try:
            record = read_record(file.parent)
            check_shape(record, SHAPE)
        except ValueError:
            continue
        if record is not None and record["status"] == "finished":
            seconds = sum(float(phase["seconds"]) for phase in record["phases"].values())
            model = record["config"]["model"]
            found[file] = Took(file.parent.parent, model, record["algo"], record["spend"], seconds)
    return list(found.values())


def predicted(cell: Cell, out: str, known: Sequence[Took] | None = None) -> float | None:
    """Seconds that a cell will take: its budget times the mean rate of the nearest finished runs of its model: its own
    arm's, else its algorithm's, else any algorithm's.  None where nothing like it has been run.

    `known` are the runs to go by, those under OUT by default.
    """
    config = cell.config(out)
    unit, limit = config.budget.split("=")
    like = [t for t in (taken(out) if known is None else known) if t.model == config.model and t.spend.get(unit)]
    own = [t for t in like if t.folder == Path(out, cell.folder)]
    nearest = own or [t for t in like if t.algo == config.algo_name] or like
    rates = [t.seconds / t.spend[unit] for t in nearest]
    return float(limit) * sum(rates) / len(rates) if rates else None


def total(cells: Sequence[Cell], out: str, known: Sequence[Took]) -> float | None:
    """Seconds of all of them, one after another; None where one is unknown."""
    arms: dict[Any, float | None] = {}
    for cell in cells:
        if cell.folder not in arms:
            arms[cell.folder] = predicted(cell, out, known)
    each = [arms[cell.folder] for cell in cells]
    return None if None in each else sum(x for x in each if x is not None)
