"""The verdicts of a study as text: its arms by accuracy, its pairs by how clear they are, at most 80 columns."""

from __future__ import annotations

from pathlib import Path

from harness.api.verdicts import verdict_table
from harness.reports.analysis.summary import summarize
from harness.reports.loading import load_results
from tests.harness.record_factory import write_study

CURVES = {
    "good": {s: [0.3, 0.6, 0.9 + 0.01 * s] for s in range(4)},
    "bad": {s: [0.3, 0.3, 0.4 + 0.01 * s] for s in range(4)},
    "a_name_that_is_too_long_for_a_table": {s: [0.3, 0.3, 0.41 + 0.01 * s] for s in range(4)},
}


def test_arms_and_pairs(tmp_path: Path) -> None:
    write_study(tmp_path / "s", CURVES)
    findings = summarize(load_results(tmp_path / "s"))
    (block,) = findings.blocks
    lines = verdict_table(findings, block)
    assert max(map(len, lines)) <= 80
    arms = [line.split() for line in lines if "[" in line and "than" not in line and line.split()[0] != "arm"]
    assert arms[0][:3] == ["good", "4", "91.5"]
    verdicts = [line for line in lines if " better than " in line or " worse than " in line]
    assert len(verdicts) == 2 and all(("+" in line) == (" better than " in line) for line in verdicts)
    assert any("a_name_that_is_…" in line for line in lines)


def test_two_seeds_decide_nothing(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {arm: {s: y for s, y in of.items() if s < 2} for arm, of in CURVES.items()})
    findings = summarize(load_results(tmp_path / "s"))
    lines = verdict_table(findings, findings.blocks[0])
    assert max(map(len, lines)) <= 80 and not any("better than" in line or "worse than" in line for line in lines)
    assert any("at least 3 needed" in line for line in lines)
