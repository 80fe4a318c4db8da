"""The formats of one table, and table.tex."""

from __future__ import annotations

import pytest

from harness.reports.render.table import Table
from tests.harness.reports.markdown import check_tables


@pytest.mark.parametrize("cell", ["a|b", "|", "||", "a\\|b", "a \\"])
def test_any_cell_is_one_cell_of_markdown(cell: str) -> None:
    assert check_tables(Table("t", ["a", "b"], [[cell, cell]]).markdown() + "\n") == 1
