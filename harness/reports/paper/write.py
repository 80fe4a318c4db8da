"""`harness report DIR --pdf`: DIR/paper/, figures in the widths of a column and of a page, and table.tex.

    table.tex  curves.csv  FIGURE-column.svg|.png|.pdf  FIGURE-page.svg|.png|.pdf     (one FIGURE for each block)

`zoom` is `curves` with axes that show where the arms differ.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from harness.accounting.format import without_controls
from harness.config.files.paths import check_targets
from harness.reports import csv_files
from harness.reports.analysis.summary import Block, Findings, summarize
from harness.reports.loading import load_results
from harness.reports.paper.choice import chosen
from harness.reports.paper.latex import table_tex
from harness.reports.render import figures

FOLDER = "paper"
WIDTHS = {"column": 3.3, "page": 6.75}  # inches
PER_INCH = {"in": 1.0, "cm": 2.54, "mm": 25.4, "pt": 72.27}
NARROWEST, WIDEST = 1.5, 20.0  # inches
DPI = 300
NEAR = 0.10  # of accuracy: the arms that a zoomed axis shows are at most this far below the best one at the end


def write_paper(
    folder: Path,
    arms: list[str] | None = None,
    labels: list[str] | None = None,
    pdf: bool = False,
    width: str | None = None,
) -> list[Path]:
    """Write DIR/paper/, and nothing else.  Returns the files.  Raises ValueError naming the option or the file."""
    findings = chosen(summarize(load_results(folder)), arms, labels)
    sizes = WIDTHS if width is None else {"column": inches(width)}
    drawings = figures.drawings(findings)
    for i, block in enumerate(findings.blocks, 1):
        drawings[figures.name_of("zoom", i)] = partial(zoomed, findings=findings, block=block)
    stems = [f"{name}-{size}" for name in drawings for size in sizes]
    kinds = [".svg", ".png", *([".pdf"] if pdf else [])]
    texts = {"table.tex": without_controls(table_tex(findings)), "curves.csv": csv_files.curves(findings)}
    names = [*texts, *(f"{stem}{kind}" for stem in stems for kind in kinds)]
    out = folder / FOLDER
    check_targets(folder, [FOLDER] if out.is_symlink() else [])
    check_targets(out, names)
    out.mkdir(exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    for name, drawing in drawings.items():
        for size, wide in sizes.items():
            font = 7.0 if wide < figures.NARROW else 9.0
            shape = (wide, max(0.75 * wide, 2.2) if wide < figures.NARROW else 0.55 * wide)
            figures.save(drawing, out / f"{name}-{size}", shape, font, DPI, pdf, legend_below=True)
    return [out / name for name in names]


def paper(folder: Path, arms: str | None, labels: str | None, pdf: bool, width: str | None) -> str:
    """`write_paper` with comma-separated words; a line on what was written."""
    shown, called = ([word.strip() for word in x.split(",")] if x is not None else None for x in (arms, labels))
    files = write_paper(folder, shown, called, pdf=pdf, width=width)
    return f"{len(files)} files in {files[0].parent}: {', '.join(file.name for file in files[:2])}, figures"


def inches(text: str) -> float:
    """A width with its unit, in inches.

    >>> inches("3.3in"), inches("84 mm") == 84 / 25.4
    (3.3, True)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(in|cm|mm|pt)\s*", text)
    value = float(match[1]) / PER_INCH[match[2]] if match else 0.0
    if not NARROWEST <= value <= WIDEST:
        raise ValueError(f"--width: {NARROWEST:g}in to {WIDEST:g}in, as 3.3in, 8.4cm, 84mm or 240pt; not '{text}'")
    return value


def zoomed(axes: Any, *, findings: Findings, block: Block) -> None:
    """The learning curves in the second half of the budget, with an axis for what the arms that end near the best one
    reach there; the lines of others leave it."""
    figures.curves(axes, findings=findings, block=block)
    best = max(findings.arms[arm].mean for arm in block.arms)
    near = [findings.arms[arm] for arm in block.arms if findings.arms[arm].mean >= best - NEAR]
    budget = str(findings.results.example.record["budget"]["unit"])
    late = next(i for i, fraction in enumerate(findings.results.fractions) if fraction >= 0.5)
    shown = [figures.clip(arm.mean, arm.interval) for arm in near]
    low, high = min(x for x, _ in shown), max(x for _, x in shown)
    room = max(0.5 * (high - low), 0.5)
    axes.set_ylim(low - room, min(high + room, 100.0 + 0.1 * room))
    axes.set_xlim(left=min(arm.spend_F[budget][late] for arm in near))
