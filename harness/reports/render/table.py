"""One table of text cells and its formats.  report.html renders the same object in its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.reports.render.escape import cell, inert


@dataclass(frozen=True)
class Table:
    """A title, column names, rows of text cells, and a note.

    `marked`: its cells are Markdown already (links, code of a model), every text from elsewhere in them escaped.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: bool = False

    def markdown(self) -> str:
        """Pipe-separated, cells escaped and not padded: a changed number changes one line, and long cells stay short
        (tabulate's pipe format pads every cell to the longest of its column and escapes nothing)."""
        rows = self.rows if self.marked else [[inert(text) for text in row] for row in self.rows]
        return "\n".join([_row([*map(inert, self.columns)]), "|---" * len(self.columns) + "|", *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"
