"""A study while its runs go on: a table that fills in, on a terminal; plain lines elsewhere.

What it shows is read from the folders of the runs, which other processes write: their records, and the last line of
their metrics.jsonl.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.accounting.format import clock, percent, visible
from harness.records.io import read_json
from harness.records.lock import NAME as LOCK
from harness.studies.planned_run import PlannedRun
from harness.studies.status import endpoint_of

ROWS = 24  # at most one row per run; of more runs, one row per arm
TAIL = 65536  # bytes of metrics.jsonl that surely hold its last line


@dataclass(frozen=True)
class Cell:
    """One run, as its folder tells.  Of a run that waits all is 0 or None."""

    status: str = "waiting"
    fraction: float = 0.0  # of the budget
    accuracy: float | None = None  # in training, so far; of a finished run its endpoint
    left: float | None = None  # seconds of training
    seconds: float = 0.0  # that it took


def read_cell(folder: Path) -> Cell:
    """Never raises: a file may be half written, or not there."""
    try:
        record: dict[str, Any] = read_json(folder / "record.json")
        status = str(record["status"])
        seconds = sum(float(phase["seconds"]) for phase in record["phases"].values())
        if status == "finished":
            return Cell(status, 1.0, endpoint_of(record), None, seconds)
        metrics = _last_line(folder / "metrics.jsonl")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Cell()
    fraction = float(metrics.get("budget/fraction", 0.0))
    left = seconds * (1 - fraction) / fraction if fraction > 0 else None
    return Cell(status, fraction, metrics.get("accuracy/strict"), left if status == "running" else None, seconds)


def _last_line(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - TAIL))
        lines = log.read().split(b"\n")[:-1]
    return dict(json.loads(lines[-1])) if lines else {}


class StudyView:
    """`with StudyView(runs, out, workers) as view: launch(..., say=view.say)`.

    `say` prints a line above the table, or as it is where there is none.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], out: str, workers: int, console: Console | None = None, quiet: bool = False
    ) -> None:
        self.console = console or Console(highlight=False)
        self.runs, self.out, self.workers, self.quiet = runs, Path(out), workers, quiet
        self.interactive = self.console.is_terminal and not self.console.is_dumb_terminal and not quiet
        self.cells: dict[str, tuple[float, Cell]] = {}  # path -> when its files were last changed, and what they say
        self.began, self.live = time.monotonic(), None  # type: float, Live | None

    def __enter__(self) -> StudyView:
        if self.interactive:
            self.live = Live(get_renderable=self.view, console=self.console, refresh_per_second=1, transient=True)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """The table leaves the screen: what was found takes its place."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(Text(visible(text)), soft_wrap=True)

    def cell(self, run: PlannedRun) -> Cell:
        folder = self.out / run.path
        changed = max((_changed(folder / name) for name in ("record.json", "metrics.jsonl")), default=0.0)
        known = self.cells.get(run.path)
        if known is None or known[0] != changed or not changed:
            begun = "starting" if (folder / LOCK).exists() else "waiting"
            known = self.cells[run.path] = (changed, read_cell(folder) if changed else Cell(begun))
        return known[1]

    def view(self) -> RenderableType:
        cells = [self.cell(run) for run in self.runs]
        room = max(4, min(ROWS, self.console.height - 6))
        table = self._by_run(cells) if len(cells) <= room else self._by_arm(cells)
        return Group("", table, "", Text(self.summary(cells), style="dim"))

    def _table(self, *heads: str) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
        for i, head in enumerate(heads):
            if head == "budget":
                table.add_column(head, min_width=10, max_width=24)
            else:
                table.add_column(head, justify="left" if i == 0 or head == "now" else "right", no_wrap=True)
        return table

    def _by_run(self, cells: Sequence[Cell]) -> Table:
        table = self._table("run", "now", "budget", "", "accuracy", "left")
        for run, cell in zip(self.runs, cells, strict=True):
            name = Text(f"{run.arm} seed {run.seed}" if "tune" not in run.folder else run.path)
            style = {"finished": "green", "failed": "red", "running": "bold"}.get(cell.status, "dim")
            done = percent(cell.fraction, 0) if cell.status != "waiting" else "-"
            table.add_row(
                name,
                Text(cell.status, style=style),
                _bar(cell.fraction),
                done,
                percent(cell.accuracy),
                clock(cell.left),
            )
        return table

    def _by_arm(self, cells: Sequence[Cell]) -> Table:
        table = self._table("arm", "finished", "failed", "running", "budget", "", "accuracy")
        arms: dict[str, list[Cell]] = {}
        for run, cell in zip(self.runs, cells, strict=True):
            arms.setdefault(str(Path(run.folder).relative_to(Path(run.folder).parts[0])), []).append(cell)
        for arm, own in arms.items():
            counts = [sum(c.status == status for c in own) for status in ("finished", "failed", "running")]
            fraction = sum(c.fraction for c in own) / len(own)
            ended = [c.accuracy for c in own if c.status == "finished" and c.accuracy is not None]
            mean = sum(ended) / len(ended) if ended else None
            words = [f"{counts[0]} of {len(own)}", *(str(n or "-") for n in counts[1:])]
            table.add_row(Text(arm), *words, _bar(fraction), percent(fraction, 0), percent(mean))
        return table

    def summary(self, cells: Sequence[Cell]) -> str:
        """How many are done, how long it has been, and how long it may still be."""
        done = [c for c in cells if c.status in ("finished", "failed")]
        took = [c.seconds for c in cells if c.status == "finished" and c.seconds]
        left = None
        if took:
            mean = sum(took) / len(took)
            left = sum(mean * (1 - c.fraction) for c in cells if c.status not in ("finished", "failed")) / self.workers
        elapsed = clock(time.monotonic() - self.began)
        return f"{len(done)} of {len(cells)} runs, elapsed {elapsed}, left {clock(left)}; accuracy: in domain, strict"


def _bar(fraction: float) -> ProgressBar:
    return ProgressBar(1.0, min(max(fraction, 0.0), 1.0), complete_style="cyan", finished_style="green")


def _changed(file: Path) -> float:
    try:
        return os.stat(file).st_mtime
    except OSError:
        return 0.0
