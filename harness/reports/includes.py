"""Parts of a report inside another document, between two marks, so that its numbers are those of the records.

    <!-- report results/compare_nano headline -->
    ...whatever stands here is replaced...
    <!-- /report -->

What can be asked for: headline, accuracy, pairs, verdicts (of the first block; `accuracy:2` is the second's), spend,
tuning, seeds, logged, memory, phases, hypotheses, notes, and the pictures curves and cost.
Of a folder that holds several studies: hypotheses, claims, studies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from harness.reports import collection
from harness.reports.analysis.summary import Findings, find
from harness.reports.loading import read
from harness.reports.render import tables
from harness.reports.render import text as wording
from harness.reports.report import FIGURES

PICTURES = ("curves", "cost")
MARK = re.compile(r"(<!-- report (\S+) (\S+) -->\n).*?(<!-- /report -->)", re.DOTALL)


def refresh(text: str, root: Path) -> str:
    """The document with every marked part made anew from the records under `root`.

    Raises ValueError on a part that there is not, and as `results.read` does.
    """

    @cache
    def found(folder: str) -> Findings:
        return find(read(root / folder))

    def part(match: re.Match[str]) -> str:
        opening, folder, asked, closing = match.groups()
        if collection.is_shelf(root / folder):
            said = _table(collection.part(root / folder, folder, asked))
        else:
            said = _part(found(folder), folder, asked)
        return f"{opening}\n{said}\n\n{closing}"

    return MARK.sub(part, text)


def _part(findings: Findings, folder: str, asked: str) -> str:
    name, _, number = asked.partition(":")
    place = int(number or 1) - 1
    whole = {"spend": tables.spend, "seeds": tables.seeds, "tuning": tables.tuning}
    whole |= {"memory": tables.memory, "phases": tables.phases}
    whole |= {"logged": tables.logged, "hypotheses": tables.hypotheses}
    if name in whole:
        return _table(whole[name](findings))
    if name in PICTURES:
        return f"![{FIGURES[name]}]({folder}/{name}.svg)"
    if name == "notes":
        return "\n".join(f"- {note}" for note in wording.notes(findings))
    by_block: dict[str, Callable[[], str]] = {
        "headline": lambda: f"**{wording.headline(findings, block)}**",
        "verdicts": lambda: "\n".join(f"- {v}" for v in wording.verdicts(block, findings.results.study.report.margin)),
        "accuracy": lambda: _table(tables.accuracy(findings, block)),
        "pairs": lambda: _table(tables.pairs(findings, block)),
    }
    if name not in by_block or not 0 <= place < len(findings.blocks):
        valid = ", ".join([*by_block, *whole, *PICTURES, "notes"])
        raise ValueError(f"report: no part '{asked}' of {folder}; valid: {valid} (with :k for block k)")
    block = findings.blocks[place]
    return by_block[name]()


def _table(table: tables.Table) -> str:
    return f"{table.markdown()}\n\n{table.note}" if table.note else table.markdown()
