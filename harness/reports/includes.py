"""Parts of a report inside another document, between two marks, so that its numbers are those of the records.

    <!-- report results/compare_nano headline -->
    (replaced by the headline)
    <!-- /report -->

Folders are relative to the document, as links are: in docs/ it is `../results/compare_nano`.

Parts of a study: headline, accuracy, pairs, verdicts (of the first block; `accuracy:2` is the second's), spend,
tuning, seeds, logged, memory, phases, hypotheses, notes, and the figures curves and cost.
Parts of a folder with several studies: hypotheses, claims, studies, runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from harness.reports import collection
from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import load_results
from harness.reports.render import caveats, tables
from harness.reports.render import text as wording
from harness.reports.render.escape import inert, literal
from harness.reports.render.figures import CAPTIONS
from harness.reports.render.table import Table

FIGURES = ("curves", "cost")
MARK = re.compile(r"(<!-- report (\S+) (\S+) -->\n).*?(<!-- /report -->)", re.DOTALL)


def update_includes(text: str, root: Path) -> str:
    """The document with every marked part rewritten from the records under `root`.

    Raises ValueError on an unknown part, and as `load_results` does.
    """

    @cache
    def findings_of(folder: str) -> Findings:
        return summarize(load_results(root / folder))

    def part(match: re.Match[str]) -> str:
        opening, folder, name, closing = match.groups()
        if collection.is_collection(root / folder):
            content = _table(collection.part(root / folder, folder, name))
        else:
            content = _part(findings_of(folder), folder, name)
        return f"{opening}\n{content}\n\n{closing}"

    return MARK.sub(part, text)


def read_document(into: Path) -> str:
    """Raises ValueError naming the option where it cannot be read."""
    if not into.is_file():
        raise ValueError(f"--into: no file {into}")
    try:
        return into.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--into: cannot read {into}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--into: {into} is not UTF-8 text (byte {error.start})") from error


def _part(findings: Findings, folder: str, requested: str) -> str:
    name, _, number = requested.partition(":")
    index = int(number or 1) - 1
    whole = {"spend": tables.spend, "seeds": tables.seeds, "tuning": tables.tuning}
    whole |= {"memory": tables.memory, "phases": tables.phases}
    whole |= {"logged": tables.logged, "hypotheses": tables.hypotheses}
    if name in whole:
        return _table(whole[name](findings))
    if name in FIGURES:
        return f"![{CAPTIONS[name]}]({folder}/{name}.svg)"
    if name == "notes":
        lines = [*caveats.cautions(findings), *caveats.notes(findings, literal)]
        return "\n".join(f"- {inert(line)}" for line in lines)
    margin = findings.results.study.report.margin
    by_block: dict[str, Callable[[], str]] = {
        "headline": lambda: f"**{inert(wording.headline(findings, block))}**",
        "verdicts": lambda: "\n".join(f"- {inert(v)}" for v in wording.pair_sentences(block, margin)),
        "accuracy": lambda: _table(tables.accuracy(findings, block)),
        "pairs": lambda: _table(tables.pairs(findings, block)),
    }
    if name not in by_block or not 0 <= index < len(findings.blocks):
        valid = ", ".join([*by_block, *whole, *FIGURES, "notes"])
        raise ValueError(f"report: no part '{requested}' of {folder}; valid: {valid} (with :k for block k)")
    block = findings.blocks[index]
    return by_block[name]()


def _table(table: Table) -> str:
    return f"{table.markdown()}\n\n{inert(table.note)}" if table.note else table.markdown()
