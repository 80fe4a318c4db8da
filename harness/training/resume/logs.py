"""The logs of a run, metrics.jsonl and samples.jsonl, and the part of them that a checkpoint stands on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.records.checksums import file_sha256

NAMES = ("metrics.jsonl", "samples.jsonl")
Marks = dict[str, dict[str, Any]]


def mark(folder: Path) -> Marks:
    """What a checkpoint keeps of the logs as they are now: their sizes and hashes.  They are on the disk then."""
    marks: Marks = {}
    for file in (folder / name for name in NAMES):
        if file.is_file():
            with file.open("rb") as written:
                os.fsync(written.fileno())
            marks[file.name] = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
    return marks


def fault(folder: Path, rounds: int, marks: Mapping[str, Mapping[str, Any]] | None) -> str | None:
    """Why the logs do not hold what had been logged at that round; None where they do.

    `marks` is None for a checkpoint of before there were any: then every round must have its line.
    """
    if marks is None:
        return _gap(folder, rounds)
    for name, kept in marks.items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else 0
        if size < kept["bytes"]:
            return f"{name} has {size:,} bytes where {kept['bytes']:,} had been written"
        if file_sha256(file, kept["bytes"]) != kept["sha256"]:
            return f"{name} is not as it was written"
    return None


def _gap(folder: Path, rounds: int) -> str | None:
    """The first fault in the lines of rounds 1 .. `rounds`: one in metrics.jsonl, and some in samples.jsonl where it
    sampled."""
    sampled = []
    try:
        lines = [json.loads(line) for line in _lines(folder / NAMES[0], rounds)]
        if [line["round"] for line in lines] != list(range(1, rounds + 1)):
            return f"{NAMES[0]} does not have a line for each of {rounds} rounds"
        sampled = [line["round"] for line in lines if "reward" in line]
        if sampled and sorted({json.loads(line)["round"] for line in _lines(folder / NAMES[1], rounds)}) != sampled:
            return f"{NAMES[1]} does not have samples of each of {rounds} rounds"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{NAMES[1] if sampled else NAMES[0]} cannot be read: {error}"
    return None


def _lines(file: Path, rounds: int) -> list[str]:
    """Those of the first rounds; what was written after them, a half line too, may be anything."""
    kept: list[str] = []
    last = 0
    for line in file.read_text().splitlines():
        try:
            last = json.loads(line)["round"]
        except ValueError:
            if last >= rounds:
                break
            raise
        if last > rounds:
            break
        kept.append(line)
    return kept


def logged_rounds(folder: Path, rounds: int) -> list[dict[str, float]]:
    """The lines of metrics.jsonl of the first rounds; empty where there are none."""
    return [json.loads(line) for line in _lines(folder / NAMES[0], rounds)] if rounds else []


def begun(folder: Path) -> bool:
    """Has anything been logged?"""
    return any((folder / name).is_file() and (folder / name).stat().st_size for name in NAMES)


def rewind(folder: Path, rounds: int, marks: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Cut the logs back to what had been written at that round; `fault` has said that they hold it."""
    for name in NAMES:
        file = folder / name
        if not file.is_file():
            continue
        if marks is None:
            kept = _lines(file, rounds) if rounds else []
            file.write_text("".join(line + "\n" for line in kept))
        else:
            os.truncate(file, marks[name]["bytes"] if name in marks else 0)
