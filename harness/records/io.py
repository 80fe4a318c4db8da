"""Reading and writing JSON files: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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


def write_text(path: Path, text: str) -> None:
    """A text file, never through a link."""
    path.unlink(missing_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def check_writable(path: Path) -> None:
    """Raises ValueError where a file cannot be written there, before anything is computed for it."""
    if path.is_dir():
        raise ValueError(f"out: {path} is a folder; name a file")
    if not (parent := path.absolute().parent).is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(f"out: cannot write in {parent}")


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
