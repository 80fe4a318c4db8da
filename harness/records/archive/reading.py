"""What the three files of a study hold."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records.archive import tables
from harness.records.archive.lines import KEPT, RUN, Rows, to_record

if TYPE_CHECKING:
    import pyarrow as pa

RECORDS, METRICS, OUTCOMES = "records.jsonl", "metrics.parquet", "outcomes.parquet"
UNDER_WAY = ".folding.tmp"  # the folder in which new ones are written
DEPTH = 8  # folders between a run and its study's, at most


@dataclass(frozen=True)
class Entry:
    """A line of records.jsonl."""

    number: int
    line: str
    rounds: int
    outcomes: Mapping[str, int]  # file -> rows


@dataclass(frozen=True)
class Archive:
    """The runs of a study's folder; by the path of each from there."""

    folder: Path
    runs: Mapping[str, Entry] = field(repr=False)

    def place(self, run: str) -> Path:
        """FILE:LINE of a run's record, for messages."""
        return self.folder / f"{RECORDS}:{self.runs[run].number}"

    def record(self, run: str) -> dict[str, Any]:
        """As record.json had it.  Raises ValueError naming file and line."""
        try:
            return to_record(self.runs[run].line)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.place(run)}: not the record of a run: {error!r}") from error

    def rounds(self, run: str) -> Rows:
        """Raises ValueError naming the file, where it has others than records.jsonl counts."""
        return self._rows(METRICS, (run,), self.runs[run].rounds, "rounds")

    def outcomes(self, run: str, file: str) -> Rows:
        """One dict per problem.  Raises ValueError as `rounds` does."""
        return self._rows(OUTCOMES, (run, file), self.runs[run].outcomes[file], f"outcomes of {file}")

    def readings(self, run: str, file: str, reading: str) -> list[str]:
        """One field of each outcome, a text; faster than all of them.  Raises ValueError as `rounds` does."""
        rows, texts = self._slice(OUTCOMES, (run, file), self.runs[run].outcomes[file], f"outcomes of {file}")
        if reading not in texts or rows.column(reading).null_count:
            try:
                return [str(row[reading]) for row in self.outcomes(run, file)]
            except LookupError as error:
                raise ValueError(f"{self.folder / OUTCOMES}: an outcome of {run} has no {error}") from error
        return tables.values(rows, reading, texts)

    def _rows(self, name: str, key: tuple[str, ...], count: int, what: str) -> Rows:
        rows, texts = self._slice(name, key, count, what)
        try:
            return tables.to_rows(rows, texts)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.folder / name}: the {what} of {key[0]} cannot be read: {error!r}") from error

    def _slice(self, name: str, key: tuple[str, ...], count: int, what: str) -> tuple[pa.Table, Texts]:
        file = self.folder / name
        whole, texts, places = _table(file, _signature(file), len(key))
        start, stop = places.get(key, (0, 0))
        if stop - start != count:
            message = f"{stop - start} {what} of {key[0]}, but {self.place(key[0]).name} counts {count}"
            raise ValueError(f"{file}: {message}")
        return whole.slice(start, stop - start), texts


def archive_at(folder: Path) -> Archive | None:
    """None where the folder has none.  Raises ValueError naming the file where it is broken."""
    file = folder / RECORDS
    signature = _signature(file)
    if signature is None or not _ours(file, signature):
        return None
    return Archive(folder, _entries(file, signature))


def archive_of(folder: Path) -> tuple[Archive, str] | None:
    """The archive in a folder above that has a run of this place, and the run's path from there."""
    absolute = Path(os.path.abspath(folder))
    told = list(folder.parents) if ".." not in folder.parts else []
    for depth, parent in enumerate(list(absolute.parents)[:DEPTH]):
        archive = archive_at(told[depth] if depth < len(told) else parent)
        run = absolute.relative_to(parent).as_posix()
        if archive is not None and run in archive.runs:
            return archive, run
    return None


def archives_below(root: Path) -> Iterator[Archive]:
    """In the folder itself and in all folders below it."""
    for file in sorted(root.rglob(RECORDS)):
        if file.parent.name != UNDER_WAY and (archive := archive_at(file.parent)) is not None:
            yield archive


Signature = tuple[int, int, int]
Texts = dict[str, list[str | None]]
Places = dict[tuple[str, ...], tuple[int, int]]  # of a run, or of one of its files: its first row and the end


def _signature(file: Path) -> Signature | None:
    """Changes with the file; None where there is none."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if file.is_file() else None


@lru_cache(256)
def _ours(file: Path, signature: Signature) -> bool:
    """Anyone's data may be called records.jsonl: ours has its tables beside it, or begins as ours does."""
    if any((file.parent / name).exists() for name in (METRICS, OUTCOMES)):
        return True
    begins = rb'\{"%s": ".*", "%s": \{"rounds": ' % (RUN.encode(), KEPT.encode())
    with file.open("rb") as content:
        return re.match(begins, content.readline(2000)) is not None


@lru_cache(64)
def _entries(file: Path, signature: Signature) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    try:
        lines = file.read_text().split("\n")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from error
    if lines[-1]:
        raise ValueError(f"{file}:{len(lines)}: the last line has no end: the file was cut")
    for number, line in enumerate(lines[:-1], 1):
        try:
            table = json.loads(line)
            run, kept = table[RUN], table[KEPT]
            entry = Entry(number, line, int(kept["rounds"]), {str(k): int(n) for k, n in kept["outcomes"].items()})
            if Path(run).is_absolute() or ".." in Path(run).parts:
                raise ValueError(f"'{RUN}' must be a path below the folder, not {run!r}")
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{file}:{number}: not the record of a run with '{RUN}' and '{KEPT}': {error!r}"
            ) from error
        if run in entries:
            raise ValueError(f"{file}:{number}: run {run} is on line {entries[run].number} already")
        entries[run] = entry
    return entries


@lru_cache(4)
def _table(file: Path, signature: Signature | None, keys: int) -> tuple[pa.Table, Texts, Places]:
    """A table, its texts, and the first row and the end of each run (keys = 1), or of each of its files (2)."""
    import numpy as np

    if signature is None:
        raise ValueError(f"{file}: is missing; {RECORDS} beside it counts rows of it")
    whole = tables.read(file, texts_once=True)
    names = ["run", "file"][:keys]
    if missing := [name for name in (*names, tables.FIELDS, tables.OTHER) if name not in whole.column_names]:
        raise ValueError(f"{file}: has no column '{missing[0]}'")
    whole = whole.combine_chunks().unify_dictionaries()
    if not len(whole):
        return whole, {}, {}
    columns = [whole.column(name).chunk(0) for name in names]
    if any(column.null_count for column in columns):
        raise ValueError(f"{file}: a row does not say which run it is of")
    codes = [np.asarray(column.indices) for column in columns]
    ends = np.flatnonzero(np.any([np.diff(code) != 0 for code in codes], axis=0)) + 1
    all_texts = tables.texts_of(whole)
    texts = [all_texts[name] for name in names]
    bounds = [0, *ends.tolist(), len(whole)]
    places: Places = {}
    for start, stop in zip(bounds, bounds[1:], strict=False):
        key = tuple(str(text[code[start]]) for text, code in zip(texts, codes, strict=True))
        if key in places:
            raise ValueError(f"{file}: the rows of {' '.join(key)} do not stand together")
        places[key] = (start, stop)
    return whole, all_texts, places
