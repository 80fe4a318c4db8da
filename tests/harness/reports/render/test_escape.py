"""Texts of models, files and records on a page: they are seen, and they do nothing."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.accounting.format import CONTROL, visible, without_controls
from harness.records.io import write_json
from harness.reports.collection_page import write_overview
from harness.reports.includes import update_includes
from harness.reports.render import figures
from harness.reports.render.escape import code, inert, literal
from harness.reports.render.table import Table
from harness.reports.report import write_report
from harness.studies.study import parse
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401
from tests.harness.record_factory import a_record, change, rows, unfinished, write, write_study

ACTING = {
    # what a text may try
    "a script": "<script>alert(1)</script>",
    "an image": "<img src=x onerror=alert(1)>",
    "a comment that hides": "x <!-- y",
    "a tag that ends nothing": "</div>",
    "a processing instruction": "<?php x ?>",
    "an address": "<https://evil.example/x>",
    "a link": "[click](javascript:alert(1))",
    "an image that is fetched": "![x](https://evil.example/x.png)",
    "a link by name": "[click][evil]\n\n[evil]: https://evil.example",
    "a definition": "[evil]: https://evil.example",
    "a link behind a backslash": "\\\\[click\\\\](https://evil.example)",
    "tags behind a backslash": "\\\\<b>",
    "a heading": "x\n# Results\n\nall is well",
    "a row": "x\n| 1 | 2 |\n|---|---|\n| a | b |",
    "a pipe": "a | b \\| c \\\\| d",
    "a code block": "x\n\n    code\n\n```\ny",
    "an odd backtick": "a ` b `` c ``` d",
    "code that hides a tag": "`` ` <b> ` ``",
    "an escape sequence": "a\x1b[2J\x1b]0;title\x07b\x9b31mc",
    "a string without an end": "a\x1b]0;b",
    "controls": "a\x00b\x07c\x08d\x7fe\x85f",
    "text that runs backwards": "a\u202eb\u2066c",
}
INERT = MarkdownIt("commonmark").enable("table")


def tokens(text: str) -> Iterator[Token]:
    for block in INERT.parse(text):
        yield block
        yield from block.children or ()


def acts(text: str) -> list[str]:
    """What of a Markdown page is HTML, or leads somewhere; figures of the report itself lead nowhere."""
    found = []
    for token in tokens(text):
        own = token.type == "image" and re.fullmatch(r"\w+(-\d+)?\.svg", str(token.attrGet("src")))
        if token.type in ("html_inline", "html_block", "link_open", "image") and not own:
            found.append(token.content or str(token.attrs))
    return found


def seen(text: str) -> str:
    """The words of a Markdown page as a reader sees them."""
    return " ".join(t.content for t in tokens(text) if t.type in ("text", "code_inline", "code_block", "fence"))


@pytest.mark.parametrize("case", ACTING)
@pytest.mark.parametrize("shown", [inert, literal, code])
def test_a_text_does_nothing(shown: Any, case: str) -> None:
    text = shown(ACTING[case])
    table = Table("t", ["a", "b"], [[text, text]], marked=True).markdown()
    page = f"# Page\n\n- note: {text}\n\nx {text}\n\n{table}\n\nend\n"
    assert acts(page) == [] and not CONTROL.search(text) and "\n" not in text
    kinds = [t.type for t in INERT.parse(page)]
    assert kinds.count("heading_open") == 1 and kinds.count("tr_open") == 2 and kinds.count("td_open") == 2
    assert kinds.count("code_block") + kinds.count("fence") == 0 and seen(page).endswith("end")


@pytest.mark.parametrize("case", ACTING)
def test_a_literal_text_is_seen_as_it_is(case: str) -> None:
    words = " ".join(visible(ACTING[case]).split())
    assert " ".join(seen(f"x {literal(ACTING[case])} y").split()).replace(" ", "") == f"x{words}y".replace(" ", "")


HARMLESS = ["a < b", "x <= y > z", "a `code` and **bold**, a_b", "[0.1, 0.9] (2)", "50 %", "f(x)[i]", "R&D", "2*3", ""]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_stay(text: str) -> None:
    assert inert(text) == text == visible(text)


@pytest.mark.parametrize("slashes", range(6))
def test_a_pipe_never_ends_a_cell(slashes: int) -> None:
    """Whatever stands before it."""
    text = Table("t", ["a", "b"], [["x" + "\\" * slashes + "|y", "z"]]).markdown()
    cells = re.findall(r"(?:\\.|[^|\\])+", text.splitlines()[2])  # as GitHub's parser cuts a row
    assert len([c for c in cells if c.strip()]) == 2
    assert [t.type for t in INERT.parse(text)].count("td_open") == 2


@pytest.mark.parametrize("text", ["\x1b]" * 20_000, "\x9d" * 20_000, "\x1b[" * 20_000, "\x1b[0;" * 10_000 + "x"])
def test_long_texts_take_no_time(text: str) -> None:
    assert len(visible(text)) < len(text)


def test_of_a_page_single_characters_alone_are_lost() -> None:
    """A sequence may begin in one model's text and end in another's: what stands between them stays."""
    page = "a\x1b]0;b\nresults\x07 end"
    assert without_controls(page) == "a]0;b\nresults end" and "results" in visible(page)


# --- whole reports -------------------------------------------------------------------------------------------

EVIL = " ".join(text for case, text in ACTING.items() if case != "a string without an end") + " \x1b]0;"
NAME = "<b>[n](x)"  # where a name must be on one line, and printable


def hostile_study(folder: Path) -> Path:
    """Every text that a report shows and that somebody else may have written."""
    claims = [
        {"id": NAME, "says": EVIL, "arms": ["a", "b"], "source": EVIL, "settle": EVIL, "note": EVIL},
        {"id": f"{NAME} 2", "says": EVIL, "arms": ["b", "a"], "settle": EVIL},
    ]
    report = {"blocks": {NAME: ["a", "b"], EVIL: ["a", "lost"]}, "logged": [EVIL, "frac_reward_zero_std"]}
    table = {"question": EVIL, "source": EVIL, "prediction": EVIL, "hypotheses": claims, "report": report}
    curves = {arm: {seed: [0.3, 0.4, 0.5 + seed / 10] for seed in range(3)} for arm in ("a", "b")}
    write_study(folder, {**curves, "lost": {}}, **table)
    for arm in ("a", "b"):
        for seed in range(3):
            run = folder / arm / f"seed{seed}"
            record = a_record(arm, seed, curves[arm][seed], memory={"peak_bytes": 1, "parts": {NAME: {"bytes": 1}}})
            record["environment"] = {**record["environment"], "cpu": EVIL, "python": EVIL, "commit": f"{arm}{EVIL}"}
            record["environment"]["packages"] = {"torch": EVIL, NAME: EVIL}
            record["config"] |= {"lr": EVIL, "sources": {"lr": "flag"}}
            record["phases"] = {NAME: {"seconds": 1.0}, "update": {"seconds": 1.0}}
            write(run, record, [{"frac_reward_zero_std": 0.25, "budget/fraction": 0.5}], lambda where, i: EVIL)
            for file in (run / "outcomes").glob("arithmetic-*"):
                lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
                kept = [{**line, "gold": EVIL, "prompt": EVIL} if "text" in line else line for line in lines]
                file.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in kept).encode(), 1))
            change(run, lambda r: [row.update(outcomes="") for row in r["evals"] if row["task"] != "arithmetic"])
    (folder / "lost").mkdir()
    write(folder / "lost" / "seed0", unfinished("lost", 0, "failed", EVIL))
    write(folder / "b" / "seed2", unfinished("b", 2, "failed", EVIL))
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = hostile_study(tmp_path_factory.mktemp("hostile") / "study")
    write_report(folder)
    return folder


class Acting(HTMLParser):
    """Elements and attributes that a page of ours has nowhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wrong = [name for name, value in attrs if name.startswith("on") or (value or "").startswith("javascript")]
        self.found += [tag] if tag in ("img", "b", "iframe") or wrong else []

    def handle_comment(self, data: str) -> None:
        self.found.append(data)


def test_a_hostile_report_does_nothing(hostile: Path) -> None:
    page, html = (hostile / "report.md").read_text(), (hostile / "report.html").read_text()
    assert acts(page) == [] and Acting(html).found == []
    shown = seen(page)
    for case in ("a script", "an image", "an address"):
        assert ACTING[case] in shown and ACTING[case].replace("<", "&lt;").replace(">", "&gt;") in html
    assert html.count("<script") == 1 and "[2J" not in page + html, "a sequence goes whole"
    for file in hostile.glob("*.*"):
        if file.suffix not in (".png", ".json"):
            assert not CONTROL.search(file.read_text()), file.name


def test_every_row_of_a_hostile_report_has_its_cells(hostile: Path) -> None:
    kinds = [(t.type, t.level) for t in INERT.parse((hostile / "report.md").read_text())]
    assert ("code_block", 0) in kinds and ("fence", 0) not in kinds
    heads = [t.type for t in INERT.parse((hostile / "report.md").read_text())].count("heading_open")
    plain = sum(line.startswith("#") for line in (hostile / "report.md").read_text().splitlines())
    assert heads == plain


def test_parts_of_a_hostile_report_in_another_document(hostile: Path) -> None:
    parts = ["headline", "accuracy", "pairs", "verdicts", "spend", "seeds", "logged", "memory", "phases"]
    parts += ["hypotheses", "notes"]
    marks = [f"<!-- report {hostile.name} {part} -->\n<!-- /report -->\n" for part in parts]
    text = update_includes("\n".join(marks), hostile.parent)
    assert acts(re.sub(r"<!-- /?report.*?-->", "", text)) == [] and not CONTROL.search(text)


def test_a_hostile_collection_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "draw", lambda findings, folder: {})
    hostile_study(tmp_path / "all" / "one")
    waiting: dict[str, Any] = {"arms": {"a": {}, "b": {"lr": 0.1}}, "seeds": 5, "question": EVIL}
    waiting["hypotheses"] = [{"id": NAME, "says": EVIL, "arms": ["a", "b"], "settle": EVIL}]
    (tmp_path / "all" / "two ](x").mkdir()
    write_json(tmp_path / "all" / "two ](x" / "study.json", parse("two", waiting).as_dict())
    text = write_overview(tmp_path / "all").read_text()
    text = re.sub(r"<!-- /?report.*?-->", "", text)
    own = {"one/report.md", "two%20%5D%28x/"}
    links = [str(t.attrGet("href")) for t in tokens(text) if t.type == "link_open"]
    assert {*links} == own and not [t for t in tokens(text) if t.type in ("html_block", "image")]
    assert not [t.content for t in tokens(text) if t.type == "html_inline" and t.content != "<br>"]
    assert not CONTROL.search(text)


def test_what_a_terminal_is_told(hostile: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    """Headlines with names of blocks, and an error with the words of a file."""
    code, said, _ = call("report", str(hostile))
    assert code == 0 and "alert(1)" in said and not CONTROL.search(said)
    bad = write(tmp_path / "bad", a_record("a", 0, [0.3, 0.5, 0.9], status=EVIL))
    (tmp_path / "x.toml").write_text(f"question = {json.dumps(EVIL)}\n{json.dumps('a' + chr(27) + '[2Jb')} = 1\n")
    for words in (("report", str(bad)), ("ablate", str(tmp_path / "x.toml"))):
        code, _, error = call(*words)
        assert code == 2 and not CONTROL.search(one_line(error))


@pytest.mark.parametrize("name", ["a$\\frac$b$", "x" * 255, "a b"])
def test_a_set_of_any_name_has_its_figures(name: str, tmp_path: Path) -> None:
    record = a_record("a", 0, [0.3, 0.5, 0.9])
    for row in record["evals"]:
        if row["task"] == "arithmetic":
            row |= {"task": name, "outcomes": ""}
    assert write_report(write(tmp_path / "s", record)).endpoint.name == name


@pytest.mark.parametrize("field", ["task", "filter", "metric", "domain", "decoding"])
@pytest.mark.parametrize("name", ["a`b", "<b>", "a|b", "a\nb", "a\x1b[2J", "x" * 256])
def test_a_name_that_is_none_is_refused(field: str, name: str, tmp_path: Path) -> None:
    record = a_record("a", 0, [0.3, 0.5, 0.9])
    record["evals"] += [{**rows("arithmetic", 1.0, 0.5, kept=False)[0], field: name}]
    with pytest.raises(ValueError, match=rf"evals\.\d+\.{field}: must be a name"):
        write_report(write(tmp_path / "s", record))
