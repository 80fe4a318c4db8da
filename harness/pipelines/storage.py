"""A pipeline in the folder of its records: pipeline.json, and pipeline.lock, written before the first run.

    {"schema": 2, "locked": "2026-12-01T01:00:00Z", "environment": {...}, "sha256": "...", "asked": {...}}

`asked` is all that its file says; `sha256` is of it.  A pipeline that differs from its lock is refused, when it is run
and when it is reported; seeds may be added.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from harness.config.coercion import build
from harness.pipelines.schema import Pipeline, Stage, check
from harness.records.environment import environment
from harness.records.io import read_json, sha256, utc_now, write_json
from harness.records.schema import SCHEMA

FILE, LOCK = "pipeline.json", "pipeline.lock"
MAY_GROW = ("seeds",)


def is_pipeline(folder: Path) -> bool:
    return (folder / FILE).is_file()


def as_table(pipeline: Pipeline) -> dict[str, Any]:
    """As JSON has it."""
    return dict(json.loads(json.dumps(dataclasses.asdict(pipeline))))


def stored(folder: Path) -> Pipeline:
    """The pipeline of a folder of records, held to its lock.  Raises ValueError naming the file."""
    file = folder / FILE
    try:
        table = dict(read_json(file))
        table.pop("schema", None)
        stages, controls = ([build(Stage, s, "") for s in table.pop(name)] for name in ("stages", "controls"))
        bare = build(Pipeline, {**table, "stages": [], "controls": []}, "")
        pipeline = check(dataclasses.replace(bare, stages=stages, controls=controls))
    except (TypeError, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{file}: {error}") from error
    hold(folder, pipeline)
    return pipeline


def store(folder: Path, pipeline: Pipeline) -> None:
    """Write it, and before its first run its lock.  Raises ValueError where it differs from the one that was asked."""
    hold(folder, pipeline)
    seeds = stored(folder).seeds if is_pipeline(folder) else []
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / LOCK).exists():
        asked = as_table(pipeline)
        here = {name: x for name, x in environment("", 0).items() if name in ("python", "packages", "commit", "dirty")}
        table = {"schema": SCHEMA, "locked": utc_now(), "environment": here, "sha256": _digest(asked), "asked": asked}
        write_json(folder / LOCK, table)
    whole = dataclasses.replace(pipeline, seeds=[*seeds, *(s for s in pipeline.seeds if s not in seeds)])
    write_json(folder / FILE, {"schema": SCHEMA, **as_table(whole)})


def hold(folder: Path, pipeline: Pipeline) -> None:
    """Raises ValueError, one line, where the lock is not as it was written, or asks for something else."""
    file = folder / LOCK
    if not file.exists():
        return
    try:
        table = read_json(file)
        locked, asked, digest = table["locked"], dict(table["asked"]), table["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not a pipeline's lock: {error}") from error
    if digest != _digest(asked):
        raise ValueError(f"{file}: its sha256 is not that of what it locks: it was changed by hand")
    new = as_table(pipeline)
    for name in asked:
        if name not in (*MAY_GROW, "name") and new.get(name) != asked[name]:
            raise ValueError(
                f"{folder}: {name} is another than was locked on {locked}: a pipeline is not changed after its first "
                "run; choose another --name"
            )


def later_seeds(folder: Path, pipeline: Pipeline) -> list[int]:
    """Seeds that were not asked for at first."""
    file = folder / LOCK
    return sorted({*pipeline.seeds} - {*read_json(file)["asked"]["seeds"]}) if file.exists() else []


def withdraw(folder: Path) -> None:
    """Take back what `store` wrote into a new folder, where no run could begin."""
    for name in (FILE, LOCK):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else lies there
        folder.rmdir()


def _digest(asked: dict[str, Any]) -> str:
    return sha256(json.dumps(asked, sort_keys=True).encode())
