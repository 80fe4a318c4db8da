"""What a study found, as two short tables of text: its arms, and its pairs with their verdicts.  At most 80 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reports.analysis.summary import Block, Findings, Pair

PAIRS = 12  # that are shown; the report has all
NAME = 16  # characters of an arm's name that are shown


def verdict_table(findings: Findings, block: Block) -> list[str]:
    """Arms by accuracy, then their pairs by how clear they are.  Empty where no arm of the block has finished."""
    from harness.reports.render.text import ORDER, bracket, points, simultaneous_interval

    arms = sorted((findings.arms[name] for name in block.arms), key=lambda arm: -arm.mean)
    if not arms:
        return []
    rows = [("arm", "seeds", findings.endpoint.name, "95 %")]
    rows += [(_cut(arm.name), str(arm.finished), points(arm.mean), bracket(arm.interval)) for arm in arms]
    lines = [*([block.name] if block.name else []), *_aligned(rows)]
    pairs = sorted(block.pairs, key=lambda p: (ORDER.index(p.comparison.kind) // 2, -abs(p.comparison.pair.mean)))
    if pairs:
        told = [("verdict", "points", "95 %, family")]
        for pair in pairs[:PAIRS]:
            mean = pair.comparison.pair.mean
            told.append((_verdict(pair), points(mean, sign=True) if math.isfinite(mean) else "-",
                         bracket(simultaneous_interval(pair))))  # fmt: skip
        lines += ["", *_aligned(told)]
        lines += [f"not yet: {why}" for why in dict.fromkeys(p.comparison.pair.why for p in pairs[:PAIRS]) if why]
        if len(pairs) > PAIRS:
            lines.append(f"... and {len(pairs) - PAIRS} more pairs in the report")
    return [*lines, ""]


def _verdict(pair: Pair) -> str:
    """A first, so that the sign of the points is A - B."""
    a, b, kind = _cut(pair.a), _cut(pair.b), pair.comparison.kind
    words = {
        "A better": f"{a} better than {b}", "B better": f"{a} worse than {b}",
        "A ahead": f"{a} ahead of {b}", "B ahead": f"{a} behind {b}",
        "equivalent": f"{a} equivalent to {b}", "identical": f"{a} identical to {b}",
        "undecided": f"{a} against {b}: undecided",
    }  # fmt: skip
    return words.get(kind, f"{a} against {b}: not yet") + " (post hoc)" * pair.post_hoc


def _cut(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, numbers to the right, under a head."""
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(wide[0]), *(cell.rjust(w) for cell, w in zip(row[1:], wide[1:], strict=True))]).rstrip()
        for row in rows
    ]
    return [lines[0], "─" * (sum(wide) + 2 * (len(wide) - 1)), *lines[1:]]
