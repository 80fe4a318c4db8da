"""Folding: the folders of runs that have ended become lines and rows of their study's three files.

What is folded of a run: record.json, metrics.jsonl and outcomes/*.jsonl.gz, every field and every row.  What is not
stays where it is, untouched: samples.jsonl, checkpoints/, tensorboard/, tasks/, traceback.txt.

What is folded when: a run that has finished; one that failed or was interrupted, where it kept no checkpoint to go on
from.  One that another process holds, and one that says that it is running, stay folders.

The order of the steps, so that a crash at any of them loses nothing:

1. The three files are written beside the old ones, made durable, and read back: every run must come out as it went in.
2. They are moved over the old ones, records.jsonl last: only what it names counts.
3. Of each folder record.json is removed first: as long as it is there, the folder is read and not the archive; then
   the rest.  What a crash leaves of the rest, the next folding removes.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records import lock
from harness.records.archive import tables
from harness.records.archive.lines import Rows, to_line
from harness.records.archive.reading import METRICS, OUTCOMES, RECORDS, UNDER_WAY, Archive, archive_at
from harness.records.run_folder import RECORD, ROUNDS, outcome_names, raw_record, read_outcomes, read_rounds

if TYPE_CHECKING:
    import pyarrow as pa

FILES = (OUTCOMES, METRICS, RECORDS)  # in the order in which they are moved
STUDY = "study.json"


@dataclass(frozen=True)
class _Live:
    """A run's folder that is to be folded."""

    folder: Path
    run: str  # its path from the study's folder
    record: dict[str, Any]

    def rounds(self) -> Rows:
        return read_rounds(self.folder) or []

    def outcomes(self) -> dict[str, Rows]:
        return {name: read_outcomes(self.folder, name) for name in outcome_names(self.folder)}


def fold(folder: Path, below: str = "") -> list[Path]:
    """Fold the runs below a study's folder that have ended, or those of one folder in it.  Returns their folders.

    Raises ValueError, one line that names the file, where something cannot be read, is being written by another process
    or does not come out as it went in: then nothing has been removed.
    """
    if not _foldable(folder, below) and not _left_over(folder):
        return []
    with lock.held(folder):
        live = _foldable(folder, below)
        old = archive_at(folder)
        if live:
            _write(folder, live, old)
        shutil.rmtree(folder / UNDER_WAY, ignore_errors=True)  # of a crash
        for run in live:
            _remove(run.folder)
        for name in (archive_at(folder) or Archive(folder, {})).runs:
            _sweep(folder / name)
    return [run.folder for run in live]


def _foldable(folder: Path, below: str) -> list[_Live]:
    found = []
    for file in sorted((folder / below).rglob(RECORD)):
        run = file.parent
        inner = [parent for parent in run.parents if folder in parent.parents]
        if run == folder or any((p / name).exists() for p in inner for name in (STUDY, RECORDS)):
            continue  # a run alone is no study, and a study within has an archive of its own
        if any(p.is_symlink() for p in (file, run, *inner)) or lock.busy(run):
            continue
        record = raw_record(run)
        if record is not None and _ended(run, record):
            found.append(_Live(run, run.relative_to(folder).as_posix(), record))
    return sorted(found, key=lambda live: _order(live.run))


def _ended(run: Path, record: dict[str, Any]) -> bool:
    if record["status"] == "finished":
        return True
    checkpoints = run / "checkpoints"
    return record["status"] in ("failed", "interrupted") and not (checkpoints.is_dir() and any(checkpoints.iterdir()))


@cache
def _order(run: str) -> tuple[tuple[str, int, str], ...]:
    """Numbers by size: seed2 before seed10.  Whatever was folded first, the files are in this order."""
    return tuple((re.sub(r"\d+$", "", part), int(re.search(r"\d*$", part)[0] or -1), part) for part in run.split("/"))  # type: ignore[index]


# --- writing ----------------------------------------------------------------------------------------------------


def _write(folder: Path, live: list[_Live], old: Archive | None) -> None:
    """The three files with the runs of the old ones and those that are live, which count where both have one."""
    import pyarrow as pa

    fresh = {run.run: run for run in live}
    kept = {} if old is None else {run: entry for run, entry in old.runs.items() if run not in fresh}
    runs = sorted([*fresh, *kept], key=_order)
    lines, rounds, parts, whole = [], {}, [], _Outcomes(folder, kept)
    for name in runs:
        if name in kept and old is not None:
            lines.append(kept[name].line)
            rounds[name] = old.rounds(name)
            parts.append(whole.of(name))
        else:
            run = fresh[name]
            outcomes = run.outcomes()
            rounds[name] = run.rounds()
            parts.append(_outcome_table(run, outcomes))
            lines.append(to_line(name, len(rounds[name]), {k: len(v) for k, v in outcomes.items()}, run.record))
    new = folder / UNDER_WAY
    shutil.rmtree(new, ignore_errors=True)  # of a crash
    try:
        new.mkdir()
        tables.write(new / OUTCOMES, pa.concat_tables([_no_outcomes(), *parts]))
        tables.write(new / METRICS, _metrics_table(rounds, {run: _record_of(run, fresh, old) for run in runs}))
        (new / RECORDS).write_text("".join(f"{line}\n" for line in lines))
        for name in FILES:
            _sync(new / name)
        _verify(new, live, old, kept)
        for name in FILES:
            os.replace(new / name, folder / name)
        _sync(folder)
    except OSError as error:
        raise ValueError(f"{folder}: cannot fold its runs: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _record_of(run: str, fresh: dict[str, _Live], old: Archive | None) -> dict[str, Any]:
    return fresh[run].record if run in fresh or old is None else old.record(run)


def _place(run: str, record: dict[str, Any]) -> dict[str, Any]:
    """The first columns: ARM/seed<k>, of a trial tune/ARM/TRIAL/seed<k>, of a pipeline's stage seed<k>/STAGE."""
    parts = run.split("/")
    trial = parts[-2] if parts[0] == "tune" and len(parts) > 3 else None
    stage = len(parts) == 2 and re.fullmatch(r"seed\d+", parts[0])  # of a pipeline: seed<k>/STAGE
    arm = parts[1] if stage else "/".join(parts[1:-2] if trial else parts[:-1]) or parts[0]
    seed = record.get("seed")
    return {"run": run, "arm": arm, "trial": trial, "seed": seed if type(seed) is int else None}


def _metrics_table(rounds: dict[str, Rows], records: dict[str, dict[str, Any]]) -> pa.Table:
    kinds = tables.kinds_of((row for rows in rounds.values() for row in rows), but=tables.METRICS)
    columns: dict[str, list[Any]] = {name: [] for name in (*tables.METRICS, *kinds, tables.FIELDS, tables.OTHER)}
    for run, rows in rounds.items():
        place = {name: [value] * len(rows) for name, value in _place(run, records[run]).items()}
        for name, values in {**place, **tables.to_columns(rows, kinds)}.items():
            columns[name].extend(values)
    return tables.table(columns, {**tables.METRICS, **kinds})


KINDS = {**tables.OUTCOMES, **tables.OUTCOME}


def _no_outcomes() -> pa.Table:
    return tables.table({name: [] for name in (*KINDS, tables.FIELDS, tables.OTHER)}, KINDS)


def _outcome_table(run: _Live, outcomes: dict[str, Rows]) -> pa.Table:
    import pyarrow as pa

    place, parts = _place(run.run, run.record), [_no_outcomes()]
    evals = [row for row in run.record["evals"] if isinstance(row, dict)]
    points = {row.get("outcomes"): (row.get("task"), row.get("fraction")) for row in evals}
    for file, rows in outcomes.items():
        task, fraction = points.get(file, (Path(file).name.removesuffix(".jsonl.gz").rpartition("-")[0], None))
        head = {**place, "task": str(task), "fraction": None if fraction is None else float(fraction), "file": file}
        columns = {name: [value] * len(rows) for name, value in head.items()}
        columns |= {"row": list(range(len(rows))), **tables.to_columns(rows, tables.OUTCOME)}
        parts.append(tables.table(columns, KINDS))
    return pa.concat_tables(parts)


class _Outcomes:
    """The rows of the runs that are folded already, as they are."""

    def __init__(self, folder: Path, kept: dict[str, Any]) -> None:
        self.table = tables.read(folder / OUTCOMES) if kept else None
        self.places: dict[str, tuple[int, int]] = {}
        if self.table is not None:
            for i, run in enumerate(self.table.column("run").to_pylist()):
                self.places[run] = (self.places.get(run, (i, i))[0], i + 1)

    def of(self, run: str) -> pa.Table:
        start, stop = self.places.get(run, (0, 0))
        assert self.table is not None
        return self.table.slice(start, stop - start)


# --- checking ---------------------------------------------------------------------------------------------------


def _verify(place: Path, live: list[_Live], old: Archive | None, kept: Iterable[str]) -> None:
    """Raises ValueError where a run does not come out of the new files as it is in its folder or the old files."""
    new = archive_at(place)
    assert new is not None
    for run in live:
        outcomes = run.outcomes()
        same = _same(new.record(run.run), run.record) and _same(new.rounds(run.run), run.rounds())
        same = same and list(new.runs[run.run].outcomes) == list(outcomes)
        if not same or not all(_same(new.outcomes(run.run, name), rows) for name, rows in outcomes.items()):
            raise ValueError(f"{run.folder}: does not come out of {RECORDS} and its tables as it went in; it stays")
    for name in kept if old is not None else ():
        assert old is not None
        same = _same(new.record(name), old.record(name)) and _same(new.rounds(name), old.rounds(name))
        if not same or not all(_same(new.outcomes(name, f), old.outcomes(name, f)) for f in old.runs[name].outcomes):
            raise ValueError(f"{old.place(name)}: {name} does not come out of a new {RECORDS} as it went in")


def _same(a: Any, b: Any) -> bool:
    """1 is not 1.0, NaN is NaN, and the order of fields counts.  Format 0 writes equal values alike, wherever they are
    from, in a tenth of the time of JSON."""
    return marshal.dumps(a, 0) == marshal.dumps(b, 0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- removing ---------------------------------------------------------------------------------------------------


def _folded_files(run: Path) -> Iterator[Path]:
    yield run / ROUNDS
    yield from (run / name for name in outcome_names(run))


def _remove(run: Path) -> None:
    """What was folded of a run's folder, record.json first; and the folder, where nothing is left in it."""
    (run / RECORD).unlink(missing_ok=True)
    _sync(run)
    for file in _folded_files(run):
        file.unlink(missing_ok=True)


def _left_over(folder: Path) -> bool:
    """Did a crash leave anything of runs that are folded?"""
    archive = archive_at(folder)
    runs = [folder / run for run in (archive.runs if archive is not None else ())]
    left = any((run / ROUNDS).exists() or (run / "outcomes").exists() for run in runs)
    return left or (folder / UNDER_WAY).exists()


def _sweep(run: Path) -> None:
    """What a crash left of a folded run, and folders in which nothing is."""
    if not run.is_dir() or run.is_symlink() or (run / RECORD).exists() or lock.busy(run):
        return
    _remove(run)
    (run / lock.NAME).unlink(missing_ok=True)
    for place in (run / "outcomes", run, *list(run.parents)[:3]):
        with contextlib.suppress(OSError):  # something else lies there
            place.rmdir()
