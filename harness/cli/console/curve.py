"""The curve of a run as a few lines of text, and one line that says what to do next."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.accounting.format import percent

ROWS = 5  # of the plot
LEVELS = " ▁▂▃▄▅▆▇█"  # of one row
PLAIN = " ..::-=##"  # where a file or terminal has no such characters
LINES = (("completions/mean_length", "length", "{:.1f}"), ("kl", "KL", "{:.4f}"), ("entropy", "entropy", "{:.2f}"))


def read_rounds(folder: Path) -> list[dict[str, float]]:
    """Of metrics.jsonl; empty where there is none that can be read."""
    try:
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    except (OSError, ValueError):
        return []


def curve(rounds: Sequence[Mapping[str, float]], width: int, plain: bool = False) -> list[str]:
    """The reward of the rounds over the budget (the loss, where nothing is rewarded), and beside it length, KL and
    entropy as one line each.  Empty where there are not two rounds to draw.

    `width` is that of the whole, `plain` for ASCII alone.  Many rounds share a column, which shows their mean.
    """
    name, title = next(((n, t) for n, t in (("reward", "reward"), ("loss", "loss")) if len(_values(rounds, n)) > 1),
                       ("", ""))  # fmt: skip
    if not name:
        return []
    levels, columns = PLAIN if plain else LEVELS, max(10, min(width - 34, 64))
    values = _values(rounds, name)
    drawn = _columns(values, columns)
    low, high = min(drawn), max(drawn)
    heights = [round((x - low) / (high - low) * (8 * ROWS - 1)) + 1 if high > low else 4 * ROWS for x in drawn]
    lines = [f"{title} by round, {len(values)} rounds"]
    for row in reversed(range(ROWS)):
        label = f"{(high if row else low):.3g}" if row in (0, ROWS - 1) else ""
        cells = "".join(levels[max(0, min(8, h - 8 * row))] for h in heights)
        lines.append(f"{label:>8} {'|' if plain else '│'} {cells}".rstrip())
    for key, word, form in LINES:
        if len(others := _values(rounds, key)) > 1 and max(others) > min(others):
            ends = f"{form.format(others[0])} {'->' if plain else '→'} {form.format(others[-1])}"
            lines.append(f"{word:>8} {'|' if plain else '│'} {sparkline(_columns(others, columns), levels)}  {ends}")
    return lines


def sparkline(values: Sequence[float], levels: str = LEVELS) -> str:
    """One character per value, the least the lowest.

    >>> sparkline([0, 1, 2, 7])
    '▁▂▃█'
    """
    low, high = min(values), max(values)
    return "".join(levels[1 + (round((x - low) / (high - low) * 7) if high > low else 3)] for x in values)


def _values(rounds: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [m[name] for m in rounds if name in m and math.isfinite(m[name])]


def _columns(values: Sequence[float], columns: int) -> list[float]:
    """At most so many, each the mean of its share of the values; few values are drawn several columns wide."""
    n = len(values)
    if n <= columns:
        return [x for x in values for _ in range(columns // n)]
    edges = [round(i * n / columns) for i in range(columns + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:], strict=False)]


RISING = 0.03  # of the training accuracy, between the last two quarters of a run


def next_step(record: Mapping[str, Any], folder: Path, rounds: Sequence[Mapping[str, float]]) -> str:
    """One line: what somebody who has just seen this run's end would do next."""
    typed, config = shlex.quote(str(folder)), record.get("config") or {}
    accuracy = _values(rounds, "accuracy/strict")
    if record.get("status") != "finished":
        return f"next: harness run --resume {typed}"
    if not rounds and not (record.get("spend") or {}).get("updates"):
        return "next: a larger --budget: this one did not pay for a round"
    if accuracy and max(accuracy) == 0:
        return (
            "next: easier problems, or a model that solves some of these: no completion was right, nothing is learned"
        )
    if accuracy and min(accuracy) == 1:
        return "next: harder problems: every completion was right from the start, so nothing is learned"
    quarter = len(accuracy) // 4
    if quarter:
        gained = sum(accuracy[-quarter:]) / quarter - sum(accuracy[-2 * quarter : -quarter]) / quarter
        if gained > RISING:
            unit, _, limit = str(config.get("budget", "")).partition("=")
            return (
                f"next: a larger budget, e.g. --budget {unit}={_twice(limit)}: in its last quarter the accuracy still "
                f"rose by {percent(gained, 0).replace(' %', ' points')}"
            )
    return f"next: harness report {typed} draws its page; harness compare --algos A,B --seeds 3 tells algorithms apart"


def _twice(limit: str) -> str:
    return f"{2 * float(limit):g}" if float(limit) >= 1e6 else str(round(2 * float(limit)))
