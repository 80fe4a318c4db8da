"""`harness report` on a folder of studies: the report of every study, and one page over all of them.

Hand-written text in the page is kept: only the parts between `<!-- report ... -->` marks are rewritten.
"""

from __future__ import annotations

from pathlib import Path

from harness.config.files.paths import check_targets
from harness.reports.collection import read_collection, single_runs
from harness.reports.includes import update_includes
from harness.reports.report import write_report

TITLES = {"hypotheses": "Claims and tests of them", "studies": "Studies", "runs": "Runs of no study"}


def write_overview(folder: Path) -> Path:
    """Write README.md of the folder.  Raises ValueError as `load_results` does."""
    collection = read_collection(folder)
    check_targets(folder, ["README.md"])
    for study in collection:
        if study.folder.is_symlink():
            raise ValueError(f"{study.folder}: is a link; name the folder that it leads to, to write its report there")
    for study in collection:
        if study.findings is not None:
            write_report(study.folder)
    page = folder / "README.md"
    text = page.read_text() if page.exists() else f"# {folder.resolve().name}\n"
    empty = {"hypotheses": not collection, "studies": not collection, "runs": not single_runs(folder)}
    for name, title in TITLES.items():
        mark = f"<!-- report . {name} -->"
        if mark not in text and not empty[name]:
            text = f"{text.rstrip()}\n\n## {title}\n\n{mark}\n<!-- /report -->\n"
    page.write_text(update_includes(text, folder))
    return page
