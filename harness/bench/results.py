"""The record of a suite: OUT/SUITE.json, with the environment of the measurements; and plain text tables."""

from __future__ import annotations

import datetime
import os
import shlex
import statistics
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.records.environment import environment
from harness.records.io import write_json


def middle(values: Sequence[float]) -> float:
    """The median."""
    return float(statistics.median(values))


def spread(values: Sequence[float]) -> list[float]:
    """[least, most]."""
    return [float(min(values)), float(max(values))]


def hardware() -> dict[str, Any]:
    """The machine's cores and memory (bytes); the processor's name is in `environment.cpu`."""
    return {"cores": os.cpu_count(), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}


def surroundings(device: str, threads: int, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Command, date, versions (`packages`: in addition to the harness's own), commit, machine."""
    software = environment(device, threads)
    for name in packages:
        try:
            software["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            software["packages"][name] = "absent"
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": {**software, "hardware": hardware()},
    }


def commit() -> str | None:
    """The commit of the running code."""
    current: str | None = environment("", 0)["commit"]
    return current


def write(out: Path, suite: str, record: dict[str, Any]) -> Path:
    """Write OUT/SUITE.json, completely or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{suite}.json"
    write_json(file, {"suite": suite, **record})
    return file


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first to the left, the others to the right.

    >>> print(table(["mode", "ratio"], [["generate", "3.10"], ["static", "-"]]))
    mode      ratio
    ───────────────
    generate   3.10
    static        -
    """
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *others = (cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths)))  # noqa: B905
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(header), "─" * (sum(widths) + 2 * (len(widths) - 1)), *map(line, rows)])
