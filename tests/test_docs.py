"""README.md and docs/: short, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import algos
from tests.helpers import ROOT

PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
GUIDES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*/*.md"))
LINK = re.compile(r"\]\(([^()\s]+)\)|\b(?:href|src)=\"([^\"]+)\"")
CODE = re.compile(r"^(```.*?^```|(?: {4}[^\n]*\n)+)", re.DOTALL | re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:")


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them; one that comes again gets -1, -2."""
    counts: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{counts[slug]}" if slug in counts else slug)
        counts[slug] = counts.get(slug, 0) + 1
    return found


def broken(page: Path) -> list[str]:
    """Links to files that do not exist, or to headings that their page does not have."""
    wrong = []
    for link in ("".join(groups) for groups in LINK.findall(CODE.sub("", page.read_text()))):
        if link.startswith(ELSEWHERE):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", [*PAGES, *GUIDES])
def test_every_link_leads_somewhere(page: str) -> None:
    assert broken(ROOT / page) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#the-k1-of-pi)", []),
        ("[a](other.md#twice-1)", []),
        ("[a](#here)", []),
        ("[a](https://nowhere.invalid/x.md)", []),
        ("```\n[a](gone.md)\n```", []),
        ("[a](gone.md)", ["gone.md"]),
        ("    [a](code.md)\n\n[a](gone.md)", ["gone.md"]),
        ("![a](gone.svg)", ["gone.svg"]),
        ("[a](other.md#gone)", ["other.md#gone"]),
        ("[a](#gone)", ["#gone"]),
        ('<img src="gone.svg">', ["gone.svg"]),
    ],
)
def test_a_broken_link_is_found(text: str, wrong: list[str], tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# The `k1` of pi\n\n## Twice\n\n## Twice\n")
    (tmp_path / "page.md").write_text(f"# Here\n\n{text}\n")
    assert broken(tmp_path / "page.md") == wrong


def test_the_front_page_is_short_and_names_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    assert [page for page in PAGES[1:] if page.count("/") == 1 and f"({page}" not in text] == []
    assert len([page for page in PAGES[1:] if page.count("/") == 1]) <= 12  # guides have a folder of their own


def test_the_screens_are_what_the_console_draws(tmp_path: Path) -> None:
    """`python scripts/screens.py` again, from the same records."""
    done = subprocess.run([sys.executable, "scripts/screens.py", "--out", str(tmp_path)], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    for screen in sorted((ROOT / "docs/guides/screens").glob("*.svg")):
        assert (tmp_path / screen.name).read_bytes() == screen.read_bytes(), f"{screen.name}: run scripts/screens.py"


def test_the_pages_that_are_made_are_what_the_code_says() -> None:
    """`python scripts/pages.py` again."""
    from scripts.pages import pages

    for path, text in pages().items():
        assert (ROOT / "docs" / path).read_text(encoding="utf-8") == text, f"docs/{path}: run scripts/pages.py"
    algorithms = {f"algorithms/{name}.md" for name in set(algos.names()) - set(algos.variant_names())}
    assert algorithms < set(pages())


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text()
    assert [page for page in [*PAGES[1:], *GUIDES] if f": {page.removeprefix('docs/')}\n" not in nav] == []
