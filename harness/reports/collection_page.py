"""`harness report` on a folder of studies: every study's report anew, and one page over them all.

What a person has written into the page stays: only what stands between `<!-- report ... -->` marks is made anew.
"""

from __future__ import annotations

from pathlib import Path

from harness.reports.collection import shelved
from harness.reports.includes import refresh
from harness.reports.report import report

TITLES = {"hypotheses": "What was claimed, and what a fair test shows", "studies": "The studies"}


def overview(folder: Path) -> Path:
    """README.md of the folder.  Raises ValueError as `results.read` does."""
    for found in shelved(folder):
        if found.findings is not None:
            report(found.folder)
    page = folder / "README.md"
    text = page.read_text() if page.exists() else f"# {folder.resolve().name}\n"
    for name, title in TITLES.items():
        mark = f"<!-- report . {name} -->"
        if mark not in text:
            text = f"{text.rstrip()}\n\n## {title}\n\n{mark}\n<!-- /report -->\n"
    page.write_text(refresh(text, folder))
    return page
