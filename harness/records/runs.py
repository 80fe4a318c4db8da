"""The runs below a folder, whether each is a folder of its own or a line of its study's archive: the one door.

A run is called by its folder in both cases, `results/STUDY/ARM/seed0`.  As long as that has a record.json, it is read,
and the archive is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from harness.records import run_folder
from harness.records.archive.reading import (
    METRICS,
    OUTCOMES,
    RECORDS,
    Archive,
    archive_at,
    archive_of,
    archives_below,
)
from harness.records.io import json_tables
from harness.records.run_folder import RECORD, ROUNDS, check_needed
from harness.records.schema import Record
from harness.records.upgrade import upgrade_record

Rows = list[dict[str, Any]]


def _archived(folder: Path) -> tuple[Archive, str] | None:
    return None if (folder / RECORD).exists() else archive_of(folder)


def raw_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run as it was written; None where there is none.  Raises ValueError naming the file."""
    if (found := _archived(folder)) is None:
        return run_folder.raw_record(folder)
    archive, run = found
    record = archive.record(run)
    check_needed(record, archive.place(run))
    return record


def read_record(folder: Path, check: Callable[[dict[str, Any], Path], None] | None = None) -> Record | None:
    """The record of a run, with today's names; None where there is none.

    Raises ValueError, naming the file, where it is not the record of a run.  `check` sees it as it lies in the file.
    """
    record = raw_record(folder)
    if record is None:
        return None
    file = record_place(folder)
    if check is not None:
        check(record, file)
    try:
        return cast(Record, upgrade_record(record))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def status_of(folder: Path) -> str | None:
    """The status of a run; None where there is none.  Raises ValueError as `read_record` does."""
    record = raw_record(folder)
    return None if record is None else str(record["status"])


def has_record(folder: Path) -> bool:
    """Is there a run, of whatever status?"""
    return (folder / RECORD).exists() or archive_of(folder) is not None


def is_folded(folder: Path) -> bool:
    return _archived(folder) is not None


def run_folders(root: Path, pattern: str = "**") -> list[Path]:
    """The folders of the runs whose path from the root is as the pattern, sorted; "**" is any.  Those that are folded
    are there no more, and are found all the same.  Raises ValueError where an archive is broken."""
    found = {file.parent for file in root.glob(f"{pattern}/{RECORD}")}
    parts = pattern.split("/")
    for archive in _archives(root, 0 if pattern == "**" else len(parts)):
        for run in archive.runs:
            folder = archive.folder / run
            if not folder.is_relative_to(root):
                continue
            names = folder.relative_to(root).parts
            fits = len(names) == len(parts) and all(map(fnmatchcase, names, parts))
            if fits or pattern == "**":
                found.add(folder)
    return sorted(found, key=lambda folder: folder / RECORD)


def _archives(root: Path, depth: int) -> Iterator[Archive]:
    """Those above the root, and those below it, at most so deep (0: any)."""
    for parent in root.parents[:8]:
        if (archive := archive_at(parent)) is not None:
            yield archive
    if not depth:
        yield from archives_below(root)
        return
    for level in range(depth):
        for file in sorted(root.glob("*/" * level + RECORDS)):
            if (archive := archive_at(file.parent)) is not None:
                yield archive


def written_at(folder: Path) -> float:
    """When the file that holds a run's record was written last, in seconds since the epoch."""
    found = _archived(folder)
    return (folder / RECORD if found is None else found[0].folder / RECORDS).stat().st_mtime


# --- where they are, for messages -------------------------------------------------------------------------------


def record_place(folder: Path) -> Path:
    """The file that holds a run's record; of an archive with the line: `records.jsonl:12`."""
    found = _archived(folder)
    return folder / RECORD if found is None else found[0].place(found[1])


def rounds_place(folder: Path) -> Path:
    found = _archived(folder)
    return folder / ROUNDS if found is None else found[0].folder / METRICS


def outcomes_place(folder: Path, name: str) -> str:
    found = _archived(folder)
    return str(folder / name) if found is None else f"{found[0].folder / OUTCOMES}: {found[1]}/{name}"


# --- rounds and outcomes ----------------------------------------------------------------------------------------


def read_rounds(folder: Path) -> Rows | None:
    """One dict per round; None where none was written.  Raises ValueError naming the file."""
    found = _archived(folder)
    return run_folder.read_rounds(folder) if found is None else found[0].rounds(found[1])


def outcome_names(folder: Path) -> list[str]:
    """What outcomes a run has, as its evaluations name them."""
    found = _archived(folder)
    return run_folder.outcome_names(folder) if found is None else list(found[0].runs[found[1]].outcomes)


def has_outcomes(folder: Path, name: str) -> bool:
    found = _archived(folder)
    return (folder / name).exists() if found is None else name in found[0].runs[found[1]].outcomes


def read_outcomes(folder: Path, name: str, task: str) -> Rows:
    """One dict per problem.  Raises ValueError, naming the file, where they are missing or cannot be read."""
    if (found := _archived(folder)) is None:
        return run_folder.read_outcomes(folder, name, task)
    if name not in found[0].runs[found[1]].outcomes:
        raise ValueError(f"{found[0].place(found[1])}: keeps no {name}, the outcomes of '{task}'")
    return found[0].outcomes(found[1], name)


def outcome_words(folder: Path, name: str, reading: str, task: str) -> list[str]:
    """The outcome of each problem under a reading, strict or lenient.  Raises ValueError as `read_outcomes` does.

    In a file, a search of the whole text takes a tenth of the time of parsing each line.  Inside a completion quotes
    stand behind a backslash, so that it finds fields alone; where it finds not one a line, the lines are parsed.
    """
    if (archived := _archived(folder)) is not None:
        return archived[0].readings(archived[1], name, reading)
    text = run_folder.outcome_text(folder, name, task)
    found = re.findall(rf'"{reading}": "(\w+)"', text)
    if len(found) == text.count("\n"):
        return found
    try:
        return [str(row[reading]) for row in json_tables(text)]
    except (LookupError, ValueError) as error:
        raise ValueError(f"{folder / name}: cannot read the outcomes of '{task}': {error}") from error
