"""The configuration of a run from its own record, so that its folder is all that resuming it needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from harness.config.run_config import RunConfig, resolve
from harness.records.runs import has_record
from harness.training.resume.same import begun_record

PLACE = ("name", "out", "resume")  # where a run lies, which the record's sources do not tell again


def resumed(folder: Path, flags: dict[str, Any], settings: list[str], file: str | None) -> RunConfig:
    """What the run in the folder began as; flags and settings that were given beside it lie over that.

    Raises ValueError, one line, where the folder holds no run.  That nothing which matters was changed is checked when
    the run is prepared (`check_same`).
    """
    own = folder.resolve()  # `.` has a name too
    if not has_record(folder):
        near = [path.parent for path in sorted(folder.glob("*/record.json"))][:3]
        runs = f"; runs below it: {', '.join(map(str, near))}" if near else ""
        raise ValueError(f"resume: {folder} holds no run (no record.json){runs}")
    recorded = begun_record(folder)["config"]
    names = {f.name for f in dataclasses.fields(RunConfig)} - {"sources"}
    fields = {name: value for name, value in recorded.items() if name in names}
    fields |= {
        "name": own.name,
        "out": str(folder.parent if folder.name not in ("", "..") else own.parent),
        "resume": True,
    }
    config = resolve(flags, settings, file, fields)
    given = {name: source for name, source in config.sources.items() if source == "flag" and name not in PLACE}
    return dataclasses.replace(config, sources={**recorded.get("sources", {}), **given})
