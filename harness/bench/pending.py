"""Measurements that wait for a device: the rows of a list, run in its order while the time suffices.

    - [ ] `command` -- what it shows (about N minutes)

The list stands in results/gpu/PENDING.md, most valuable first; the results go into one archive.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LIST = Path("results/gpu/PENDING.md")
LONGEST = 540  # seconds of a row
LARGEST = 16 * 2**20  # bytes of the archive
LEFT_OUT = ("checkpoints", "tb")  # folders that no archive needs

Say = Callable[[str], None]
_ROW = re.compile(r"- \[ \] `(?P<command>[^`]+)` -- (?P<shows>.*\(about (?P<minutes>\d+) minutes?[;)].*)")


@dataclass(frozen=True)
class Row:
    """One measurement."""

    command: str
    shows: str
    minutes: int


def rows(text: str) -> list[Row]:
    """Those that still wait.  Raises ValueError, naming the line, where one cannot be read.

    >>> rows("- [x] `done` -- it (about 1 minute)\\n- [ ] `python3 -m harness.cli list` -- names (about 2 minutes)")
    [Row(command='python3 -m harness.cli list', shows='names (about 2 minutes)', minutes=2)]
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("- [ ]"):
            continue
        match = _ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"{LIST}:{number}: a row is: - [ ] `command` -- what it shows (about N minutes)")
        found.append(Row(match["command"], match["shows"], int(match["minutes"])))
    return found


def run(waiting: Sequence[Row], minutes: float, archive: Path | None, say: Say) -> list[tuple[Row, str]]:
    """Run what fits, one after another; a row is begun where its expected time is still left.  (row, how it ended)."""
    start, ended = time.time(), []
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # `python3` is this one
    here = {**os.environ, "PATH": path}
    for row in waiting:
        left = minutes * 60 - (time.time() - start)
        if row.minutes * 60 > left:
            ended.append((row, f"left out: {left / 60:.0f} minutes left"))
            continue
        say(f"$ {row.command}")
        began = time.time()
        try:
            code = subprocess.run(row.command, shell=True, timeout=min(LONGEST, left), env=here).returncode
            how = "done" if code == 0 else f"failed with {code}"
        except subprocess.TimeoutExpired:
            how = "cut off: run it again, it goes on where it can"
        ended.append((row, f"{how} ({(time.time() - began) / 60:.1f} minutes)"))
    if archive is not None:
        pack(archive, start, say)
    for row, how in ended:
        say(f"{how:<30} {row.command}")
    return ended


def pack(archive: Path, since: float, say: Say, root: Path = Path("results")) -> None:
    """Everything under results/ that was written since then, smallest first, as far as the archive stays small."""
    files = [f for f in root.rglob("*") if f.is_file() and f.stat().st_mtime >= since and not {*f.parts} & {*LEFT_OUT}]
    archive.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with tarfile.open(archive, "w:gz") as packed:
        for file in sorted(files, key=lambda f: f.stat().st_size):
            size += file.stat().st_size
            if size > LARGEST:  # before compression: never more after it
                say(f"left out of the archive, too large: {file}")
                continue
            packed.add(file)


def bench(file: Path, minutes: float, archive: Path | None, show: bool, say: Say) -> None:
    """Run the list, or show it."""
    try:
        waiting = rows(file.read_text())
    except OSError as error:
        raise ValueError(f"list: cannot read {file}: {error.strerror}") from error
    if show:
        for row in waiting:
            say(f"{row.minutes} min  {row.command}\n       {row.shows}")
        return
    run(waiting, minutes, archive, say)
