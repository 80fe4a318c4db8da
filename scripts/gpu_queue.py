"""A queue of measurements that need a GPU: the rows of a list, run in order as far as the time allows.

    - [ ] `command` -- what it shows (about N minutes)

The list is results/gpu/PENDING.md, most valuable first; the results go into one archive.  At the end of a row all its
processes are stopped: a remaining one would hold device memory and disturb the next measurement.
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
LONGEST = 540  # maximum seconds per row
SLACK = 15  # seconds by which a row's expected time may exceed the time left: it is an estimate
GRACE = 20  # seconds for a row to finish writing its records after the interrupt
LARGEST = 15 * 2**20  # compressed bytes of the archived files: with their names the archive is under 16 MiB
LEFT_OUT = ("checkpoints", "tensorboard", "tasks")  # folders that are not archived

Say = Callable[[str], None]
_ROW = re.compile(r"- \[ \] `(?P<command>[^`]+)` -- (?P<shows>.*\(about (?P<minutes>\d+) minutes?[;)].*)")


@dataclass(frozen=True)
class Row:
    """One measurement."""

    command: str
    shows: str
    minutes: int


def rows(text: str) -> list[Row]:
    """The open rows of a list.  Raises ValueError, naming the line, where one cannot be parsed.

    >>> rows("- [x] `done` -- it (about 1 minute)\\n- [ ] `python3 -m harness.cli list` -- names (about 2 minutes)")
    [Row(command='python3 -m harness.cli list', shows='names (about 2 minutes)', minutes=2)]
    """
    open_rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("- [ ]"):
            continue
        match = _ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"{LIST}:{number}: a row is: - [ ] `command` -- what it shows (about N minutes)")
        open_rows.append(Row(match["command"], match["shows"], int(match["minutes"])))
    return open_rows


def run(waiting: Sequence[Row], minutes: float, archive: Path | None, say: Say) -> list[tuple[Row, str]]:
    """Run the rows whose expected time is left, one after another.  Returns (row, how it ended) pairs."""
    start, ended = time.time(), []
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # for `python3`
    environment = {**os.environ, "PATH": path}
    for row in waiting:
        left = minutes * 60 - (time.time() - start)
        if row.minutes * 60 > left + SLACK:
            ended.append((row, f"skipped: {left / 60:.0f} minutes left"))
            continue
        say(f"$ {row.command}")
        began = time.time()
        code = run_command(row.command, min(LONGEST, left), environment)
        outcome = "done" if code == 0 else f"failed with {code}"
        outcome = "stopped by the time limit: run again to resume" if code is None else outcome
        ended.append((row, f"{outcome} ({(time.time() - began) / 60:.1f} minutes)"))
    if archive is not None:
        pack(archive, start, say)
    for row, outcome in ended:
        say(f"{outcome:<30} {row.command}")
    return ended


def run_command(command: str, seconds: float, environment: dict[str, str]) -> int | None:
    """The shell's exit code; None after a timeout.  In any case all processes that it started are stopped."""
    shell = subprocess.Popen(command, shell=True, env=environment, process_group=0)
    try:
        return shell.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        stop(shell)


def stop(shell: subprocess.Popen[bytes]) -> None:
    """Interrupt the whole process group, as Ctrl-C would, wait for its end, and kill what remains."""
    until = time.monotonic() + GRACE
    try:
        os.killpg(shell.pid, signal.SIGINT)
        while time.monotonic() < until:
            shell.poll()
            os.killpg(shell.pid, 0)  # raises where no process is left
            time.sleep(0.05)
    except ProcessLookupError:
        pass
    finally:  # also after a second Ctrl-C
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def pack(archive: Path, since: float, say: Say, root: Path = Path("results")) -> None:
    """Archive all files under results/ written since then, smallest first, up to LARGEST bytes."""
    files = [f for f in root.rglob("*") if f.is_file() and f.stat().st_mtime >= since and not {*f.parts} & {*LEFT_OUT}]
    archive.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with tarfile.open(archive, "w:gz") as packed:
        for file in sorted(files, key=lambda f: f.stat().st_size):
            size += len(zlib.compress(file.read_bytes()))
            if size > LARGEST:
                say(f"not archived, too large: {file}")
                continue
            packed.add(file)


def bench(file: Path, minutes: float, archive: Path | None, show: bool, say: Say) -> None:
    """Run the list, or print it."""
    try:
        waiting = rows(file.read_text())
    except OSError as error:
        raise ValueError(f"list: cannot read {file}: {error.strerror}") from error
    if show:
        for row in waiting:
            say(f"{row.minutes} min  {row.command}\n       {row.shows}")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM also stops the current row
    run(waiting, minutes, archive, say)


def main(
    file: Annotated[Path, typer.Option("--list", help="The list of measurements.")] = LIST,
    minutes: Annotated[float, typer.Option(help="Total time; a row starts if its expected time is left.")] = 28.0,
    archive: Annotated[Path | None, typer.Option(help="Archive for the new results, 16 MiB at most.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the rows, and run none.")] = False,
) -> None:
    """Run the queued GPU measurements, most valuable first, as many as fit."""
    try:
        bench(file, minutes, archive, show, typer.echo)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    typer.run(main)
