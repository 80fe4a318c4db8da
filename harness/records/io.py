"""Reading and writing record.json: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from harness.records.schema import Record
from harness.records.upgrade import upgrade_record


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: a crash leaves the old file."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a crash, or a link: a new file is written, not what it leads to
        with temporary.open("x") as file:
            file.write(spread(value) + "\n")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def spread(value: Any) -> str:
    """JSON that a person can read and git can compare: a field a line, and of a list of tables a table a line.

    >>> print(spread({"a": {"b": 1}, "c": [{"d": 2, "e": 3}, {"d": 4, "e": 5}]}))
    {
     "a": {
      "b": 1
     },
     "c": [
      {"d": 2, "e": 3},
      {"d": 4, "e": 5}
     ]
    }
    """
    if not isinstance(value, dict):
        return json.dumps(value, indent=1)
    fields = []
    for name, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            text = "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in inner) + "\n ]"
        else:
            text = json.dumps(inner, indent=1).replace("\n", "\n ")
        fields.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(fields) + "\n}" if fields else "{}"


def utc_now() -> str:
    """Date and time, UTC, to the second: "2026-11-30T17:05:00Z"."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


NEEDED = ("status", "algo", "seed", "config", "budget", "spend", "evals", "environment")  # in every record


def check_is_file(path: Path) -> None:
    """Raises OSError where a folder, a pipe or a device lies in its place: reading a pipe would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is not a file")


def read_json(path: Path) -> Any:
    """What a JSON file holds.  Raises OSError where it cannot be read, ValueError where it is not JSON."""
    check_is_file(path)
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_tables(text: str) -> list[dict[str, Any]]:
    """One JSON object per line.  Raises ValueError."""
    try:
        rows = [json.loads(line) for line in text.splitlines()]
    except RecursionError:
        raise ValueError("a line is nested too deeply") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is not a JSON object")
    return rows


def read_record(folder: Path, check: Callable[[dict[str, Any], Path], None] | None = None) -> Record | None:
    """The record in a run's folder, with today's names; None where there is none.

    Raises ValueError, naming the file, where it is not the record of a run.  `check` sees it as it lies in the file.
    """
    file = folder / "record.json"
    try:
        record = read_json(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not a readable record: {error}") from error
    missing = [name for name in NEEDED if not isinstance(record, dict) or name not in record]
    if missing:
        raise ValueError(f"{file}: not the record of a run: it has no '{missing[0]}'")
    if check is not None:
        check(record, file)
    try:
        return cast(Record, upgrade_record(record))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def status_of(folder: Path) -> str | None:
    """The status of the run in a folder; None where there is none.  Raises ValueError as `read_record` does."""
    record = read_record(folder)
    return None if record is None else record["status"]
