r"""table.tex: for each block a main table that fits a column of `article`, and appendix tables that fit its page.

    \documentclass{article}          % or [twocolumn]
    \usepackage{booktabs}            % without it, its rules are \hline
    \begin{document} \input{table.tex} \end{document}

Widths are computed before (`widths`), so that no box is overfull.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evals.statistics.comparison import BETTER
from harness.accounting.format import visible
from harness.reports.analysis.summary import Block, Findings
from harness.reports.paper.widths import width
from harness.reports.render import arms as arm_tables
from harness.reports.render import tables
from harness.reports.render.text import amount, bracket, points, scope_text, unit

COLUMN, PAGE = 229.0, 345.0  # points: \columnwidth of a two-column article, \textwidth of a one-column one
GAP = 6.0  # between two columns: twice \tabcolsep
SIZE, SMALL = 8, 5  # \footnotesize, \tiny
SETS = 3  # evaluation sets beside the endpoint, at most
ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
ESCAPES |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}"}
ESCAPES |= {char: f"\\{char}" for char in "&%$#_{}"}
PREAMBLE = (
    "% \\usepackage{booktabs} gives better rules; without it they are lines.\n"
    "\\providecommand{\\toprule}{\\hline}\\providecommand{\\midrule}{\\hline}\\providecommand{\\bottomrule}{\\hline}"
)


@dataclass(frozen=True)
class Column:
    """A column of text cells under a name, which breaks after its underscores and spaces."""

    name: str
    cells: list[str]  # in LaTeX
    wide: float  # points, of the widest cell

    @property
    def needs(self) -> float:
        return max([self.wide, *(width(line, SIZE) for line in _lines(self.name))])

    @property
    def head(self) -> str:
        lines = r" \\ ".join(map(escaped, _lines(self.name)))
        return rf"\shortstack[r]{{{lines}}}"


def table_tex(findings: Findings) -> str:
    """The whole file: the main table and the appendix tables of every block."""
    parts = [PREAMBLE]
    for i, block in enumerate(findings.blocks, 1):
        if block.arms:
            parts += [main_table(findings, block, i), *appendix_tables(findings, block, i)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text for LaTeX, on one line.

    >>> print(escaped("a_b 5 %"))
    a\\_b 5 \\%
    """
    return "".join(ESCAPES.get(char, char) for char in " ".join(visible(text).split()))


def main_table(findings: Findings, block: Block, number: int) -> str:
    """Arm, endpoint with its interval, and as many other sets as fit a column."""
    f, arms = findings, [findings.arms[arm] for arm in block.arms]
    best = winners(block)
    cells, widest = [], 0.0
    for arm in arms:
        mean = rf"\textbf{{{points(arm.mean)}}}" if arm.name in best else points(arm.mean)
        between = bracket(arm.interval) if arm.interval else ""
        cells.append(f"{mean}{{\\tiny~{escaped(between)}}}" if between else mean)
        widest = max(widest, width(points(arm.mean), SIZE, bold=True) + width(f" {between}", SMALL))
    columns = [Column(f.endpoint.name, cells, widest)]
    room = COLUMN - _arm_width(f, block, least=True)
    for task in _sets(f):
        wider = [*columns, _set(f, block, task)]
        if len(columns) <= SETS and sum(c.needs + GAP for c in wider) <= room:
            columns = wider
    budget = f.results.example.record["budget"]
    seeds = {arm.finished for arm in arms}
    over = f"{min(seeds)} seeds" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)} seeds"
    text = f"Strict accuracy in percent at {amount(budget['limit'])} {unit(budget['unit'])}"
    text += (
        f"{f' ({block.name})' if block.name else ''}, means over {over}; {f.endpoint.name} with its 95 % t-interval."
    )
    if best:
        text += f"  Bold: better than another arm, and no arm better than it, {scope_text(block)}."
    label = f"tab:{f.results.study.name}{f'-{number}' if number > 1 else ''}"
    return _float(f, block, columns, text, label, "table", COLUMN)


def winners(block: Block) -> set[str]:
    """Arms that are better than another one, by the verdicts, and than which no other is better."""
    won, lost = set(), set()
    for pair in block.pairs:
        if pair.comparison.kind in BETTER:
            ahead, behind = (pair.a, pair.b) if pair.comparison.kind == "A better" else (pair.b, pair.a)
            won.add(ahead)
            lost.add(behind)
    return won - lost


def _sets(f: Findings) -> list[str]:
    """The other sets, one of each domain first."""
    others = [t for t in f.results.tasks if t.name != f.endpoint.name]
    firsts = {t.domain: t.name for t in reversed(others)}
    ordered = [name for domain in ("out", "retention", "in") if (name := firsts.get(domain))]
    return [*ordered, *(t.name for t in others if t.name not in ordered)]


def _set(f: Findings, block: Block, task: str) -> Column:
    cells = [points(f.arms[arm].curves[task].mean_F[-1]) for arm in block.arms]
    return Column(task, cells, max(width(cell, SIZE) for cell in cells))


def appendix_tables(findings: Findings, block: Block, number: int) -> list[str]:
    """Every column of the report's table, and how completions ended; as many tables as the page's width needs."""
    f = findings
    full, ended = tables.accuracy(f, block), {row[0]: row for row in arm_tables.outcomes(f).rows}
    by_arm = {row[0]: row for row in full.rows}
    columns = [_plain(name, [by_arm[arm][i] for arm in block.arms]) for i, name in enumerate(full.columns) if i > 0]
    for i, name in ((2, "lenient"), (3, "no answer"), (4, "truncated")):
        columns.append(_plain(name, [ended[arm][i] for arm in block.arms]))
    room = PAGE - _arm_width(f, block, least=True)
    parts: list[list[Column]] = [[]]
    for column in columns:
        if parts[-1] and sum(c.needs + GAP for c in [*parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    out = []
    for k, part in enumerate(parts, 1):
        words = f"{f.results.study.name}{f', {block.name}' if block.name else ''}, in full"
        words += f" (part {k} of {len(parts)})." if len(parts) > 1 else "."
        words += "" if k > 1 else "  Columns are explained in the study's report."
        label = f"tab:{f.results.study.name}-{number}-full-{k}"
        out.append(_float(f, block, part, words, label, "table*", PAGE))
    return out


def _plain(name: str, cells: list[str]) -> Column:
    return Column(name, [escaped(cell) for cell in cells], max(width(cell, SIZE) for cell in cells))


def _arm_width(f: Findings, block: Block, least: bool) -> float:
    """Points that the column of arms needs on one line each; `least`: at most a third of a column."""
    needs = max(width(f.results.study.label(arm), SIZE) for arm in [*block.arms]) + 1
    return min(needs, COLUMN / 3) if least else needs


def _float(
    f: Findings, block: Block, columns: Sequence[Column], caption: str, label: str, kind: str, room: float
) -> str:
    left = room - sum(c.needs + GAP for c in columns)
    arm_width = max(min(_arm_width(f, block, least=False), left), 20.0)
    rows = [
        " & ".join([_arm(f.results.study.label(arm), arm_width), *(c.cells[i] for c in columns)])
        for i, arm in enumerate(block.arms)
    ]
    return "\n".join(
        [
            rf"\begin{{{kind}}}[tbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escaped(caption)}}}",
            rf"\label{{{re.sub('[^A-Za-z0-9:.-]', '-', label)}}}",
            rf"\begin{{tabular}}{{@{{}}p{{{arm_width:.1f}pt}}{'r' * len(columns)}@{{}}}}",
            r"\toprule",
            " & ".join(["arm", *(c.head for c in columns)]) + r" \\",
            r"\midrule",
            *(rf"{row} \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\end{{{kind}}}",
        ]
    )


def _arm(label: str, room: float) -> str:
    """An arm's label, which may break after its underscores; anywhere, where a piece is wider than the column."""
    pieces = re.findall(r"[^_\s-]+[_\s-]?|[_\s-]", label)
    out = []
    for piece in pieces:
        wide = width(piece, SIZE) > room
        text = r"\allowbreak{}".join(map(escaped_char, piece)) if wide else "".join(map(escaped_char, piece))
        out.append(text)
    return r"\raggedright " + r"\allowbreak{}".join(out)


def escaped_char(char: str) -> str:
    return char if char == " " else escaped(char)


def _lines(name: str) -> list[str]:
    """A column's name in lines: after underscores and at spaces, but a number keeps its unit."""
    return [line for line in re.sub(r"_", "_\n", name.replace(" %", "\u00a0%")).replace(" ", "\n").split("\n") if line]
