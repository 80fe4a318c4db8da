"""One table of text cells and its formats.  report.html renders the same object in its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A title, column names, rows of text cells, and a note."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """Pipe-separated, cells escaped and not padded: a changed number changes one line, and long cells stay short
        (tabulate's pipe format pads every cell to the longest of its column and escapes nothing)."""
        return "\n".join([_row(self.columns), "|---" * len(self.columns) + "|", *map(_row, self.rows)])

    def latex(self) -> str:
        """A booktabs tabular, escaped; the first column is left-aligned, the others are right-aligned."""
        from tabulate import tabulate

        alignment = ["left", *["right"] * (len(self.columns) - 1)]
        return tabulate(self.rows, self.columns, tablefmt="latex_booktabs", disable_numparse=True, colalign=alignment)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
