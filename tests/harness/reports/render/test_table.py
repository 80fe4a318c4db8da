"""The formats of one table, and table.tex."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.reports.analysis.summary import Findings
from harness.reports.render.table import Table
from tests.harness.reports.markdown import check_tables


def check_latex(text: str) -> list[tuple[int, int]]:
    """(columns, rows) of each tabular; every special character is escaped."""
    shapes = []
    for spec, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        lines = [line for line in body.splitlines() if not line.startswith(("\\toprule", "\\midrule", "\\bottomrule"))]
        assert all(line.endswith(r" \\") for line in lines) and body.count("rule\n") == 3
        cells = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in lines]
        assert [len(row) for row in cells] == [len(spec)] * len(lines)
        shapes.append((len(spec), len(lines)))
        commands = r"\\text\w+\{\}|\\ensuremath\{[<>]\}|\\\^\{\}|\\[_%&#${}]"
        plain = re.sub(commands, "", "".join(map("".join, cells)))
        assert not set(plain) & set("_%#$^~{}\\<>")
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    return shapes


def test_table_tex(folder: Path, findings: Findings) -> None:
    text = (folder / "table.tex").read_text()
    assert check_latex(text) == [(16, 5), (16, 4)]  # columns, rows with head and start
    row = next(line for line in text.splitlines() if r"up\_1" in line)
    assert [cell.strip() for cell in row.split("&")][:6] == [r"up\_1", "0.2", "0.2", "3", "85.0", "[72.6, 97.4]"]
    assert r"completions to 70 \%" in text


SPECIAL = ["a_b", "9 %", "a & b", "#1", "x < y", "x > y", "a~b", "x^2", "\\", "\\_", "{x", "x}", "$x"]


@pytest.mark.parametrize("cell", SPECIAL)
def test_any_cell_is_plain_text_for_latex(cell: str) -> None:
    assert check_latex(Table("t", ["arm", "x"], [[cell, "1"], ["b", cell]]).latex()) == [(2, 3)]


@pytest.mark.parametrize("cell", ["a|b", "|", "||", "a\\|b", "a \\"])
def test_any_cell_is_one_cell_of_markdown(cell: str) -> None:
    assert check_tables(Table("t", ["a", "b"], [[cell, cell]]).markdown() + "\n") == 1
