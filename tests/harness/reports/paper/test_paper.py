"""A paper's figures and tables: arms, labels and sizes as asked, and LaTeX that compiles without an overfull box."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from harness.reports.analysis.summary import Findings
from harness.reports.paper import write
from harness.reports.paper.choice import chosen
from harness.reports.paper.latex import escaped, table_tex, winners
from harness.reports.paper.widths import width

LATEX = shutil.which("pdflatex")
SPECIAL = "a_b & 9 % #1 x<y> ~ ^2 \\ {x} $x [1]"


def test_arms_and_labels_change_what_is_shown_and_nothing_that_was_decided(findings: Findings) -> None:
    shown = chosen(findings, ["flat", "up_1"], ["Flat", "Up"])
    assert [block.arms for block in shown.blocks] == [["flat", "up_1"], ["flat"]]
    (pair,) = shown.blocks[0].pairs
    assert pair in findings.blocks[0].pairs, "the whole family's interval"
    assert shown.results.study.label("flat") == "Flat"


@pytest.mark.parametrize(
    ("arms", "labels", "message"),
    [
        (["nobody"], None, "--arms: no arm 'nobody'"),
        (["flat", "flat"], None, "named twice"),
        (["flat"], ["A", "B"], "--labels: 2 labels for 1 arms"),
        (["flat", "up_1"], ["A", "A"], "a label of its own"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    findings: Findings, arms: list[str], labels: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(findings, arms, labels)


@pytest.mark.parametrize("text", ["3.3", "3.3 km", "0.1in", "900cm", "-3in"])
def test_a_width_needs_a_unit_and_a_size_that_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="--width"):
        write.inches(text)


def test_figures_have_the_width_that_was_asked_at_300_dots(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "my_study"
    shutil.copytree(folder, copy)
    before = {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}
    files = write.write_paper(copy, ["up_1", "flat"], ["Up", "Flat"], pdf=True, width="3.3in")
    assert all(file.stat().st_size for file in files)
    assert {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()} == before
    png = Image.open(copy / "paper" / "curves-column.png")
    assert round(png.info["dpi"][0]) == 300
    assert abs(png.width - 990) <= 1
    pdf = (copy / "paper" / "zoom-column.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)
    assert box is not None
    assert round(float(box[1]), 2) == 237.6  # points of 1/72 inch
    assert ">Flat<" in (copy / "paper" / "curves-column.svg").read_text()


def test_bold_is_who_is_better_and_than_whom_nobody_is(findings: Findings) -> None:
    """From the words of the verdicts."""
    for block in findings.blocks:
        kinds = {(p.a, p.b): p.comparison.kind for p in block.pairs}
        for arm in winners(block):
            assert "A better" in [k for (a, _), k in kinds.items() if a == arm] + [
                {"B better": "A better"}.get(k, k) for (_, b), k in kinds.items() if b == arm
            ]
            assert "B better" not in [k for (a, _), k in kinds.items() if a == arm]


@pytest.mark.skipif(LATEX is None, reason="there is no pdflatex")
@pytest.mark.slow
@pytest.mark.parametrize("columns", ["", "[twocolumn]"])
@pytest.mark.parametrize("label", ["Up", SPECIAL, "a_very_long_name_of_an_arm_" * 3, "Unbreakable" * 8])
def test_tables_compile_without_an_overfull_box(findings: Findings, tmp_path: Path, columns: str, label: str) -> None:
    shown = chosen(findings, ["up_1", "flat"], [label, "B"])
    text = rf"\documentclass{columns}{{article}}\begin{{document}}{table_tex(shown)}\end{{document}}"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    assert LATEX is not None
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull" not in run.stdout


def test_escaped_text_has_no_bare_sign() -> None:
    assert escaped("a_b 5 %\x1b[31m") == r"a\_b 5 \%"
    assert escaped("\\") == r"\textbackslash{}"


def test_a_text_is_at_least_as_wide_as_its_digits() -> None:
    assert 17.78 <= width("95.8", 10) <= 18.3  # cmr10: three digits of 5.0 points, and 2.78
