"""Training metrics by quarter of the budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.reports.analysis.summary import summarize
from harness.reports.includes import update_includes
from harness.reports.loading import load_results
from harness.reports.render import tables
from harness.reports.render.html_report import html_page
from harness.reports.report import markdown
from tests.harness.record_factory import a_record, write, write_study


def round_(fraction: float, **of: float) -> dict[str, float]:
    return {"budget/fraction": fraction, **of}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two arms, two seeds; x is logged by one of them alone, and the third quarter has no round."""
    study, curve = tmp_path / "my_study", [0.3, 0.5, 0.7]
    write_study(study, {"a": {0: curve, 1: curve}, "b": {0: curve, 1: curve}}, report={"logged": ["x", "loss", "nope"]})
    rounds = {
        ("a", 0): [round_(0.1, x=1, loss=4), round_(0.25, x=3), round_(0.26, x=8), round_(1.01, x=float("nan"))],
        ("a", 1): [round_(0.25, x=6), round_(0.5, x=10), round_(1.0, x=5)],
        ("b", 0): [round_(0.2, loss=1)],
        ("b", 1): [round_(0.2, loss=2)],
    }
    for (arm, seed), of in rounds.items():
        write(study / arm / f"seed{seed}", a_record(arm, seed, curve), of)
    return study


def test_a_round_counts_in_the_quarter_in_which_it_ends(folder: Path) -> None:
    """By hand: of a's first quarter, seed 0 has (1 + 3) / 2 = 2 and seed 1 has 6, so 4; of its second 8 and 10, so 9;
    of its last nan, which is no number, and 5."""
    by = {of.metric: of.mean for of in summarize(load_results(folder)).logged}
    assert by["x"] == {"a": [4.0, 9.0, None, 5.0], "b": [None] * 4}
    assert by["loss"] == {"a": [4.0, None, None, None], "b": [1.5, None, None, None]}


def test_a_round_counts_by_its_completions(folder: Path) -> None:
    """(30 x 1 + 10 x 5) / 40 = 2 in the first quarter; in the last two rounds that draw nothing: (7 + 9) / 2 = 8."""
    drawn = [(0.1, 30, 1), (0.2, 40, 5), (0.9, 40, 7), (1.0, 40, 9)]
    rounds = [round_(f, x=x, **{"spend/completions": n}) for f, n, x in drawn]
    write(folder / "a" / "seed0", a_record("a", 0, [0.3, 0.5, 0.7]), rounds)
    (mean, *_) = (of.mean for of in summarize(load_results(folder)).logged)
    assert mean["a"] == [(2 + 6) / 2, 10.0, None, (8 + 5) / 2]


def test_the_table_stands_in_every_form_of_the_report(folder: Path) -> None:
    findings = summarize(load_results(folder))
    table = tables.logged(findings)
    assert table.columns == ["metric", "arm", "to 25 %", "to 50 %", "to 75 %", "to 100 %"]
    assert table.rows[0] == ["x", "a", "4", "9", "-", "5"] and len(table.rows) == 6
    assert "nope" in table.note and "budget/fraction, loss, round, x." in table.note
    assert f"## {table.title}" in markdown(findings, []) and 'href="#logged"' in html_page(findings, {})
    part = f"<!-- report {folder.name} logged -->\n<!-- /report -->"
    assert table.markdown() in update_includes(part, folder.parent)


def test_nothing_is_shown_where_nothing_was_asked(tmp_path: Path) -> None:
    write_study(tmp_path / "plain", {"a": {0: [0.3, 0.5, 0.7]}})
    findings = summarize(load_results(tmp_path / "plain"))
    assert findings.logged == [] and 'href="#logged"' not in html_page(findings, {})
    assert "Training metrics" not in markdown(findings, [])
