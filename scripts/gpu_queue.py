"""Measurements that wait for a device: the rows of a list, run in its order while the time suffices.

    - [ ] `command` -- what it shows (about N minutes)

The list stands in results/gpu/PENDING.md, most valuable first; the results go into one archive.  A row ends with all
that it started: what would live on holds the device's memory, and the rows after it are measured beside it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

LIST = Path("results/gpu/PENDING.md")
LONGEST = 540  # seconds of a row
SLACK = 15  # seconds that a row's expected time may be more than what is left: it is `about` so long
GRACE = 20  # seconds that a row has to leave its records whole, once it is told to stop
LARGEST = 15 * 2**20  # bytes of an archive's files, compressed: with their names it is under 16 MiB
LEFT_OUT = ("checkpoints", "tensorboard", "tasks")  # folders that no archive needs

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
        if row.minutes * 60 > left + SLACK:
            ended.append((row, f"left out: {left / 60:.0f} minutes left"))
            continue
        say(f"$ {row.command}")
        began = time.time()
        code = ran(row.command, min(LONGEST, left), here)
        how = "done" if code == 0 else f"failed with {code}"
        how = "cut off: run it again, it goes on where it can" if code is None else how
        ended.append((row, f"{how} ({(time.time() - began) / 60:.1f} minutes)"))
    if archive is not None:
        pack(archive, start, say)
    for row, how in ended:
        say(f"{how:<30} {row.command}")
    return ended


def ran(command: str, seconds: float, environment: dict[str, str]) -> int | None:
    """The shell's answer; None where the time was over.  However it ends, nothing that it started lives on."""
    shell = subprocess.Popen(command, shell=True, env=environment, process_group=0)
    try:
        return shell.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        stop(shell)


def stop(shell: subprocess.Popen[bytes]) -> None:
    """Interrupt its whole group, as Ctrl-C would, wait until that is gone, and kill what is not."""
    until = time.monotonic() + GRACE
    try:
        os.killpg(shell.pid, signal.SIGINT)
        while time.monotonic() < until:
            shell.poll()
            os.killpg(shell.pid, 0)  # is anyone left?
            time.sleep(0.05)
    except ProcessLookupError:
        pass
    finally:  # a second Ctrl-C comes here too
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def pack(archive: Path, since: float, say: Say, root: Path = Path("results")) -> None:
    """Everything under results/ that was written since then, smallest first, as far as the archive stays small."""
    files = [f for f in root.rglob("*") if f.is_file() and f.stat().st_mtime >= since and not {*f.parts} & {*LEFT_OUT}]
    archive.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with tarfile.open(archive, "w:gz") as packed:
        for file in sorted(files, key=lambda f: f.stat().st_size):
            size += len(zlib.compress(file.read_bytes()))
            if size > LARGEST:
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends the row at hand too
    run(waiting, minutes, archive, say)


def main(
    file: Annotated[Path, typer.Option("--list", help="The measurements that wait.")] = LIST,
    minutes: Annotated[float, typer.Option(help="For all rows together; a row starts where its time is left.")] = 28.0,
    archive: Annotated[Path | None, typer.Option(help="Where the new results are packed, 16 MiB at most.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the rows, and run none.")] = False,
) -> None:
    """Run the measurements that wait for a GPU, most valuable first, as many as fit."""
    try:
        bench(file, minutes, archive, show, typer.echo)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    typer.run(main)
