"""The files of one run's folder, as a run writes them: harness/records/recorder.py."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from harness.records.io import check_is_file, json_tables, read_json

RECORD, ROUNDS, SAMPLES = "record.json", "metrics.jsonl", "samples.jsonl"
NEEDED = ("status", "algo", "seed", "config", "budget", "spend", "evals", "environment")  # in every record


def raw_record(folder: Path) -> dict[str, Any] | None:
    """record.json as it lies there; None where there is none.  Raises ValueError, naming it, where it is not the record
    of a run."""
    file = folder / RECORD
    try:
        record = read_json(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not a readable record: {error}") from error
    check_needed(record, file)
    return dict(record)


def check_needed(record: Any, file: Path) -> None:
    """Raises ValueError, naming the file, where a field is missing that every record has."""
    missing = [name for name in NEEDED if not isinstance(record, dict) or name not in record]
    if missing:
        raise ValueError(f"{file}: not the record of a run: it has no '{missing[0]}'")


def read_rounds(folder: Path) -> list[dict[str, Any]] | None:
    """One dict per round; None where there is no metrics.jsonl.  Raises ValueError naming it."""
    file = folder / ROUNDS
    try:
        check_is_file(file)
        return json_tables(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not one JSON object per line: {error}") from error


def outcome_names(folder: Path) -> list[str]:
    """The files of outcomes, as the record's evaluations name them."""
    return [f"outcomes/{file.name}" for file in sorted(folder.glob("outcomes/*.jsonl.gz"))]


def outcome_text(folder: Path, name: str, task: str) -> str:
    """The lines of a file of outcomes.  Raises ValueError naming it, and the set."""
    file = folder / name
    try:
        check_is_file(file)
        return gzip.decompress(file.read_bytes()).decode()
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{file}: cannot read the outcomes of '{task}': {error}") from error


def read_outcomes(folder: Path, name: str, task: str = "") -> list[dict[str, Any]]:
    """One dict per problem.  Raises ValueError as `outcome_text` does."""
    text = outcome_text(folder, name, task)
    try:
        return json_tables(text)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / name}: cannot read the outcomes of '{task}': {error}") from error
