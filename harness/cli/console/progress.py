"""Console output during a run: a live view on a terminal, plain lines elsewhere, the summary tables at the end."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.accounting.format import clock, percent, point, size, visible
from harness.cli.console.curve import curve, next_step, read_rounds
from harness.cli.console.summary import WIDE, Tables, eval_rows
from harness.records.schema import EvaluationRow

POINTS = 5  # evaluations in the live view: the first and the latest
NUMBER = re.compile(r"[-+]?\d[\d.,]*(e[-+]?\d+)?|\bnan\b|\binf\b")


def rate(x: float | None) -> str:
    """12345 is "12.3k tok/s"."""
    if x is None:
        return "-"
    for step, unit in ((1e6, "M"), (1e3, "k")):
        if x >= step:
            return f"{x / step:.1f}{unit} tok/s"
    return f"{x:.0f} tok/s"


def small(x: float | None) -> str:
    """Four decimals below 1, two above, an exponent below 0.0001: 0.0123, 3.14, 2.5e-05."""
    if x is None:
        return "-"
    if x and abs(x) < 1e-4:
        return f"{x:.1e}"
    return f"{x:.4f}" if abs(x) < 1 else f"{x:.2f}"


def cells(metrics: Mapping[str, float]) -> dict[str, str]:
    """The displayed numbers of a round, as text; a missing one is "-", a missing KL "off"."""
    get = metrics.get
    clips = [metrics[k] for k in ("clip_ratio/low", "clip_ratio/high") if k in metrics]
    peaks = [x for name, x in metrics.items() if name.startswith("mem/peak_")]
    return {
        "reward": _fixed(get("reward"), 3),
        "accuracy": percent(get("accuracy/strict")),
        "length": _fixed(get("completions/mean_length"), 1),
        "KL": small(get("kl")) if "kl" in metrics else "off",
        "entropy": _fixed(get("entropy"), 2),
        "clip": percent(sum(clips)) if clips else "-",
        "zero-var": percent(get("frac_reward_zero_std"), 0),
        "unparseable": percent(get("unparseable")),
        "lr": "-" if "learning_rate" not in metrics else f"{metrics['learning_rate']:.1e}",
        "rollout": rate(get("perf/rollout_tok_s")),
        "update": rate(get("perf/train_tok_s")),
        "memory": size(max(peaks) if peaks else None),
    }


def _fixed(x: float | None, digits: int) -> str:
    return "-" if x is None else f"{x:.{digits}f}"


def split_line(split: dict[str, Any]) -> str:
    """How a run that samples first and trains afterwards divided its spend."""
    shares = []
    for unit, name in (("flops", "FLOPs"), ("device_seconds", "device time")):
        whole = split["sampling"][unit] + split["training"][unit]
        shares.append(f"{percent(split['sampling'][unit] / whole if whole else None, 0)} of the {name}")
    passes, kept = split["passes"], split["kept_completions"]
    return f"sampling took {' and '.join(shares)}; training {passes} passes over {kept:,} kept completions"


class Progress:
    """The console as a run's listener (`harness.training.sitting.listener.RunListener`).

    `with Progress() as progress: ...`: start, then phases, rounds and evaluations, then finish.  On a terminal it is a
    view that is redrawn twice per second, elsewhere one line per event.  A warning is logged once, when it is new
    (ignoring its numbers), and stays in the live view while it holds.  quiet=True shows nothing.
    """

    def __init__(
        self, console: Console | None = None, quiet: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or Console(highlight=False)
        if console is None and not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = 100  # a file has no width: enough for the tables
        self.quiet, self.now = quiet, now
        self.interactive = self.console.is_terminal and not self.console.is_dumb_terminal
        self.live: Live | None = None
        self.activity, self.previous_activity = "", ""  # the current phase and the one before it
        self.rounds, self.metrics = 0, dict[str, float]()
        self.began = self.at = now()  # start of the run; end of the last round (or start of the phase before the first)
        self.base: tuple[float, float] | None = None  # time and fraction from which the rate is measured
        self.left: float | None = None  # seconds, as of `at`
        self.warnings: list[str] = []  # current ones
        self.logged: dict[str, tuple[int, str]] = {}  # warning without its numbers -> first round and text
        self.points: dict[float, dict[str, str]] = {}  # fraction -> task -> strict accuracy

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(keep=True)

    def start(self, title_lines: Sequence[str]) -> None:
        self.began = self.at = self.now()
        for i, line in enumerate(title_lines):
            self._print(line, "bold" if i == 0 else "")
        self._show()

    def phase(self, text: str) -> None:
        self.previous_activity, self.activity = self.activity, text
        if not self.rounds:
            self.at = self.now()
        if self.interactive:
            self._show()
        else:
            self._print(text)

    def message(self, text: str) -> None:
        self._print(text)

    def resumed(self, rounds: int, warnings: Mapping[int, Sequence[str]]) -> None:
        """Rounds go on counting, and what was warned of is remembered: it is told as of an earlier round."""
        self.rounds = rounds
        for number, texts in warnings.items():
            for text in texts:
                self.logged.setdefault(NUMBER.sub("#", text), (number, text))
        self._print(f"resumed after round {rounds}")
        if not self.interactive:
            for number, text in self.logged.values():
                self._print(f"warning (from round {number}): {text}")

    def round(self, metrics: dict[str, float], warnings: Sequence[str]) -> None:
        self.metrics = {name: x for name, x in metrics.items() if x is not None}
        self.rounds, self.warnings = int(self.metrics.get("round", self.rounds + 1)), list(warnings)
        self._estimate(self.metrics.get("budget/fraction"))
        if not self.interactive:
            self._print(self._line())
        for text in warnings:
            key = NUMBER.sub("#", text)
            if key not in self.logged:
                self.logged[key] = self.rounds, text
                if not self.interactive:
                    self._print(f"warning: {text}")
        self._show()

    def evaluation(self, fraction: float, rows: Sequence[EvaluationRow]) -> None:
        self.activity = self.previous_activity
        table_rows = eval_rows([{"fraction": fraction, **row} for row in rows])
        # a task with several rows is shown by its first
        self.points[fraction] = {r["task"]: r["strict_first"] for r in reversed(table_rows)}
        if self.interactive:
            self._show()
            return
        width = max((len(r["task"]) for r in table_rows), default=0)
        for r in table_rows:
            self._print(
                f"eval {point(fraction):<5}  {r['task']:<{width}}  strict {r['strict_first']:>7}  "
                f"{r['interval_first']:>10}  lenient {r['lenient_first']:>7}  "
                f"unparseable {r['unparseable_first']:>7}  truncated {r['truncated_first']:>7}  n {r['n']}"
            )

    def finish(self, record: Mapping[str, Any], folder: Path | str) -> None:
        """Replace the live view by the summary and the curve; print the path of the record, and what to do next."""
        self._stop(keep=False)
        if not self.quiet:
            self.console.print()
            self.console.print(Tables(record))
            self.console.print()
            if split := record.get("split"):
                self._print(split_line(split) + "\n")
            rounds = read_rounds(Path(folder))
            for line in curve(rounds, self.console.width, not self._draws()):
                self._print(line)
            self.console.print()
        self._print(f"record: {Path(folder) / 'record.json'}")
        if not self.quiet:
            self.console.print(Text(visible(next_step(record, Path(folder), rounds))), soft_wrap=not self.interactive)

    def _draws(self) -> bool:
        return (self.console.encoding or "").lower().startswith("utf")

    def _estimate(self, fraction: float | None) -> None:
        """Estimate the seconds left, from the time since the first round (in it: since the phase began)."""
        now = self.now()
        start, fraction_then = self.base or (self.at, 0.0)
        self.left = None
        if fraction is not None:
            gained = fraction - fraction_then
            self.left = (now - start) * max(0.0, 1 - fraction) / gained if gained > 0 else None
            self.base = self.base or (now, fraction)
        self.at = now

    def _print(self, text: str, style: str = "") -> None:
        """Print a line unchanged: no markup, no line breaks at the console's width."""
        if not self.quiet:
            self.console.print(Text(visible(text), style=style), soft_wrap=True)

    def _line(self) -> str:
        c = cells(self.metrics)
        return (
            f"round {self.rounds:<4}  budget {percent(self.metrics.get('budget/fraction'), 0):>5}  "
            f"eta {clock(self.left):>5}  reward {c['reward']:>6}  acc {c['accuracy']:>7}  len {c['length']:>6}  "
            f"kl {c['KL']:>7}  H {c['entropy']:>5}  clip {c['clip']:>6}  zero-var {c['zero-var']:>5}  "
            f"rollout {c['rollout']:>11}  update {c['update']:>11}  mem {c['memory']}"
        )

    # The live view.

    def _show(self) -> None:
        if self.quiet or not self.interactive:
            return
        if self.live is None:
            self.live = Live(get_renderable=self.view, console=self.console, refresh_per_second=2)
            self.live.start()
        self.live.refresh()

    def _stop(self, keep: bool) -> None:
        """End the live view (`keep`: leave its last state on the screen), and print the warnings."""
        if self.live is None:
            return
        live, self.live, self.warnings = self.live, None, []
        live.transient = not keep
        live.stop()
        if self.logged:
            self._print("")
        for number, text in self.logged.values():
            self._print(f"warning (from round {number}): {text}", "yellow")

    def view(self) -> RenderableType:
        parts: list[RenderableType] = [self._bar()]
        if self.rounds:
            parts += ["", self._grid()]
        if self.points:
            parts += ["", self._points()]
        if self.warnings:
            parts += ["", *(Text(f"warning: {text}", style="yellow") for text in self.warnings)]
        return Group("", *parts)

    def _bar(self) -> RenderableType:
        now, fraction = self.now(), self.metrics.get("budget/fraction", 0.0)
        fraction = fraction if 0 <= fraction <= 1 else 0.0  # NaN is neither
        remaining = None if self.left is None else max(0.0, self.left - (now - self.at))
        bar = Table.grid(padding=(0, 2, 0, 0), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True, justify="right")
        times = Text.assemble(
            f"{percent(fraction, 0)}  ",
            ("elapsed ", "dim"),
            clock(now - self.began),
            ("  left ", "dim"),
            clock(remaining),
        )
        bar.add_row("budget", ProgressBar(1.0, fraction, complete_style="cyan", finished_style="cyan"), times)
        doing = f"round {self.rounds}, {self.activity}" if self.rounds else self.activity
        return Group(bar, Text(doing, style="dim"))

    def _grid(self) -> Table:
        c = cells(self.metrics)
        wide = self.console.width >= WIDE
        names = {"clip": "clip fraction", "zero-var": "zero-variance groups", "lr": "learning rate"} if wide else {}
        grid = Table.grid(padding=(0, 1, 0, 0))
        for width in (7, 7, 7, 11):  # fixed widths, so that the columns do not move when values change
            grid.add_column()
            grid.add_column(justify="right", min_width=width)
            grid.add_column()
        columns = [list(c)[i : i + 3] for i in range(0, len(c), 3)]
        for row in zip(*columns, strict=True):
            line: list[Text] = []
            for name in row:
                line += [Text(names.get(name, name), style="dim"), Text(c[name]), Text("   " if wide else "")]
            grid.add_row(*line[:-1])
        return grid

    def _points(self) -> Table:
        fractions = list(self.points)
        shown = fractions if len(fractions) <= POINTS else [fractions[0], *fractions[1 - POINTS :]]
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(*(Text(x, style="dim", justify="right" if i else "left")
                       for i, x in enumerate(["strict accuracy", *map(point, shown)])))  # fmt: skip
        for task in dict.fromkeys(t for p in self.points.values() for t in reversed(p)):
            grid.add_row(Text(visible(task)), *(Text(self.points[f].get(task, "-"), justify="right") for f in shown))
        return grid
