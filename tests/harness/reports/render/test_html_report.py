"""report.html: whole, safe and reproducible; in a browser, its tables sort and it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import load_results
from harness.reports.render import caveats
from harness.reports.render import text as wording
from harness.reports.render.figures import CAPTIONS, draw
from harness.reports.render.html_report import html_page, prose
from harness.reports.render.provenance import commands
from tests.harness.record_factory import a_record, rows, unfinished, write, write_study, write_trial

pytestmark = pytest.mark.usefixtures("sampled_problems")

HOSTILE = "</script><img src=x onerror=alert(1)> <b>bold</b> &amp; \u2028\ud800 <script>window.pwned = 1</script>\n  so"
MEMORY = {"peak_bytes": 2**21, "parts": {"policy": {"bytes": 2**20}, "kv_cache": {"bytes": 2**18}}}


class Page(HTMLParser):
    """Elements and text of a page, without scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside, self.content = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
            self.content += data

    @property
    def text(self) -> str:
        return " ".join(self.content.split())

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def a_study(folder: Path) -> Path:
    """Three arms and one without a finished run, missing seeds, trials, pass@k, and hostile completions."""
    table = {
        "question": "Is a < b & c?",
        "source": "a paper",
        "prediction": "b",
        "tune": {"grid": {"lr": [0.1, 0.2]}, "seeds": [7, 8]},
        "report": {"blocks": {"first": ["low", "mid", "lost"], "second": ["low", "high"]}},
    }
    values = {"low": [0.5, 0.52, 0.51], "mid": [0.6, 0.63, 0.64], "high": [0.9, 0.91, 0.9]}
    curves = {arm: {seed: [0.3, x - 0.1, x] for seed, x in enumerate(ends)} for arm, ends in values.items()}
    write_study(folder, {**curves, "lost": {}}, **table)
    for arm, ends in values.items():
        for seed, x in enumerate(ends):
            record = a_record(arm, seed, [0.3, x - 0.1, x], memory=MEMORY)
            (row, *_) = rows("arithmetic_x4", 1.0, 0.5, kept=False)
            record["evals"] += [{**row, "metric": f"pass@{k}", "value": x} for k in (1, 4)]
            write(folder / arm / f"seed{seed}", record, text=lambda where, i: HOSTILE)
        for trial in ("lr0.1", "lr0.2"):
            for seed in (7, 8):
                write_trial(folder, arm, trial, seed, 0.4 + seed / 100)
    write(folder / "lost" / "seed0", unfinished("lost", 0, "failed", "ValueError: <i>no</i>"))
    write(folder / "high" / "seed2", unfinished("high", 2, "failed", "ValueError: <i>no</i>"))
    return folder


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return summarize(load_results(a_study(tmp_path_factory.mktemp("page") / "study")))


@pytest.fixture(scope="module")
def html(findings: Findings) -> str:
    return html_page(findings, draw(findings, findings.results.example.folder.parent.parent))


def test_the_same_records_give_the_same_bytes(findings: Findings, html: str) -> None:
    folder = findings.results.example.folder.parent.parent
    again = summarize(load_results(folder))
    assert html_page(again, draw(again, folder)).encode() == html.encode()


def test_nothing_is_loaded(html: str) -> None:
    assert not re.findall(r"https?://[^\"' )]*", html)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|innerHTML|eval\(", html)
    names = ("src", "href", "xlink:href")
    links = [x for _, attributes in Page(html).tags for name in names if (x := attributes.get(name))]
    assert links and all(link.startswith("#") for link in links)


def test_only_its_own_script_may_run(html: str) -> None:
    parsed = Page(html)
    policy = next(a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    (script,) = parsed.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; ") and f"script-src 'sha256-{digest}';" in policy
    assert [a for tag, a in parsed.tags if tag == "script"] == [{}]
    assert not [name for _, a in parsed.tags for name in a if name.startswith("on")]


def test_completions_are_text(html: str) -> None:
    parsed = Page(html)
    assert not {"img", "b"} & parsed.names()
    assert len(parsed.scripts) == 1 and "pwned" not in parsed.scripts[0]
    assert HOSTILE.split("\ud800")[0] in parsed.content and HOSTILE.split("\ud800")[1] in parsed.content
    html.encode()  # a lone surrogate would raise


def test_everything_is_on_the_page(findings: Findings, html: str) -> None:
    text, margin = Page(html).text, findings.results.study.report.margin
    expected = [wording.headline(findings, block) for block in findings.blocks]
    expected += [sentence for block in findings.blocks for sentence in wording.pair_sentences(block, margin)]
    expected += [
        *caveats.cautions(findings),
        *caveats.notes(findings),
        wording.audit_text(findings.audit, findings.delay),
        *commands(findings.results),
    ]
    expected += [*findings.arms, "Is a < b & c?", "a paper", "No interval for high", "seed 2 (failed"]
    assert len(expected) > 15
    assert [words for words in expected if " ".join(words.split()) not in text] == []
    assert text.index(expected[0]) < text.index("Accuracy")  # results first


# --- figures ----------------------------------------------------------------------------------------------------


def test_figures_are_inline_and_labelled(html: str) -> None:
    parsed = Page(html)
    labels = [a.get("aria-label") for tag, a in parsed.tags if tag == "svg" and a.get("role") == "img"]
    first, second = (
        [f"{CAPTIONS[k][:-1]} ({name})." for k in ("curves", "cost", "seeds")] for name in ("first", "second")
    )
    assert labels == [*first, CAPTIONS["at_k"], *second]


def test_ids_are_unique_and_references_hit_them(html: str) -> None:
    """Four figures of one library name their parts alike."""
    ids = Counter(re.findall(r'<[^>]* id="([^"]*)"', html))
    assert max(ids.values()) == 1
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', html)) > set()
    references = {a or b for a, b in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', html)}
    assert references <= set(ids)


def test_the_pointer_shows_the_numbers(html: str) -> None:
    """As <title> elements: the mean with its interval at each point, and each seed."""
    titles = {" ".join(x.split()) for x in re.findall(r"<title>([^<]*)</title>", html.replace("&#10;", " "))}
    low, mid = (next(x for x in titles if x.startswith(f"{arm} start")) for arm in ("low", "mid"))
    assert "start: 30.0" in low and "end: 51.0 [48.5, 53.5]" in low and "end: 62.3" in mid
    assert {"low, seed 1: 52.0", "mid, seed 0: 60.0"} <= titles
    assert [x for x in titles if x.startswith("mid: ") and "TFLOP" in x]
    blocks = html.split('<section id="block-1"')  # each has figures of its own arms
    assert [f"<title>{arm}, seed 0" in part for arm in ("mid", "high") for part in blocks] == [True, False, False, True]


def test_sentences_of_the_report() -> None:
    assert prose("a `b_c` **not** <i> (-1.0 [-2.0, 0.1])") == (
        "a <code>b_c</code> <strong>not</strong> &lt;i&gt; <span>(-1.0 [-2.0, 0.1]</span>)"
    )


def one_arm(folder: Path) -> Path:
    return write_study(folder, {"only": {0: [0.3, 0.4, 0.5], 1: [0.3, 0.4, 0.6]}})


def two_seeds(folder: Path) -> Path:
    return write_study(folder, {arm: {0: [0.3, 0.4, 0.5], 1: [0.3, 0.4, 0.6]} for arm in ("a", "b")})


def two_points(folder: Path) -> Path:
    arms = {arm: {seed: [0.3, 0.5 + seed / 10] for seed in range(3)} for arm in ("a", "b")}
    return write_study(folder, arms, fractions=[0.0, 1.0])


def one_run(folder: Path) -> Path:
    record = a_record("only", 0, [0.3, 0.4, 0.5], algo="only")
    record["config"]["algo_name"] = "only"
    return write(folder, record)


def without_outcomes(folder: Path) -> Path:
    study = two_seeds(folder)
    for file in study.glob("*/seed*/record.json"):
        record = json.loads(file.read_text())
        record["evals"] = [{**row, "outcomes": ""} for row in record["evals"]]
        file.write_text(json.dumps(record))
    return study


STATES = {
    one_arm: ({"#pairs", "#cost", "#tuning"}, "No interval for only"),
    two_seeds: ({"#tuning"}, "No interval for a and b"),
    two_points: ({"#tuning"}, "a and b"),
    one_run: ({"#pairs", "#cost", "#tuning"}, "only"),
    without_outcomes: ({"#tuning", "#samples"}, "a and b"),
}


def page_of(folder: Path) -> str:
    findings = summarize(load_results(folder))
    return html_page(findings, draw(findings, folder))


@pytest.mark.parametrize("make", STATES)
def test_empty_sections_are_left_out(make: Callable[[Path], Path], tmp_path: Path) -> None:
    missing, text = STATES[make]
    parsed = Page(page_of(make(tmp_path / "study")))
    links = {a["href"] for tag, a in parsed.tags if tag == "a"} - {"#statistics"}
    assert {"#accuracy", "#curves", "#seeds", "#spend", "#commands"} <= links and not missing & links
    assert links <= {f"#{a.get('id')}" for _, a in parsed.tags}
    assert text in parsed.text


def test_without_figures_the_tables_remain(findings: Findings) -> None:
    parsed = Page(html_page(findings, {}))
    assert "figure" not in parsed.names() and "#cost" not in {a.get("href") for _, a in parsed.tags}
    assert [tag for tag, _ in parsed.tags].count("table") >= 9


# --- in a browser -----------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = """
const findings = {};
%s
findings.pwned = window.pwned ?? null;
findings.title = document.title;
findings.requests = performance.getEntriesByType("resource").length;
document.body.replaceChildren(document.createElement("pre"));
document.querySelector("pre").textContent = JSON.stringify(findings);
"""


def opened(html: str, folder: Path) -> tuple[str, list[str]]:
    """The page's DOM in a browser, and the addresses that the page (not the browser itself) has requested."""
    assert CHROMIUM is not None
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--window-size=1280,900"]
    flags += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    run = subprocess.run([CHROMIUM, *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=60)
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return run.stdout, [e["url"] for e in events if e.get("initiator", "not an origin") != "not an origin"]


def driven(html: str, folder: Path, script: str) -> dict[str, Any]:
    """What a script in the page finds; its hash is added to the page's policy."""
    code = DRIVER % script
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    html = html.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    html = html.replace("</body>", f"<script>{code}</script></body>")
    dom, _ = opened(html, folder)
    return dict(json.loads(Page(dom).content.strip().splitlines()[-1]))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
class TestInABrowser:
    def test_nothing_is_requested(self, html: str, tmp_path: Path) -> None:
        dom, requested = opened(html, tmp_path)
        assert requested == [] and not {"img", "b"} & Page(dom).names()

    def test_a_request_would_be_seen(self, tmp_path: Path) -> None:
        _, asked = opened('<!doctype html><img src="https://nowhere.invalid/x.png">', tmp_path)
        assert asked == ["https://nowhere.invalid/x.png"]

    def test_a_click_on_a_column_sorts_by_it(self, html: str, tmp_path: Path) -> None:
        findings = driven(
            html,
            tmp_path,
            """
            const table = document.querySelector("#accuracy table");
            const header = [...table.querySelectorAll("thead th")].find((th) => th.textContent === "arithmetic");
            const arms = () => [...table.tBodies[0].rows].map((row) => row.children[0].textContent.trim());
            findings.arms = [arms()];
            for (const _ of [1, 2]) {
              header.querySelector("button").click();
              findings.arms.push([header.getAttribute("aria-sort"), ...arms()]);
            }
            """,
        )
        assert findings["arms"] == [
            ["start", "low", "mid"],
            ["descending", "start", "mid", "low"],
            ["ascending", "start", "low", "mid"],
        ]
        assert (findings["title"], findings["pwned"], findings["requests"]) == ("study", None, 0)

    @pytest.mark.parametrize("width", [390, 1400])
    def test_no_column_is_cut_off(self, html: str, tmp_path: Path, width: int) -> None:
        """No table has a part beyond its frame, folded ones neither."""
        script = """onload = () => {
            const page = document.querySelector("iframe").contentDocument;
            page.querySelectorAll("details").forEach((details) => (details.open = true));
            const tables = [...page.querySelectorAll(".scroll")];
            const cut = tables.filter((frame) => frame.scrollWidth > frame.clientWidth + 1);
            document.title = [tables.length, ...cut.map((frame) => frame.getAttribute("aria-label"))];
        }"""
        frame = f'<iframe width="{width}" height="900" frameborder="0" srcdoc="{escape(html)}"></iframe>'
        dom, _ = opened(f"<!doctype html>{frame}<script>{script}</script>", tmp_path)
        number, *cut = re.findall(r"<title>([^<]*)</title>", dom)[0].split(",")
        assert int(number) > 9 and cut == []

    def test_the_legend_and_the_pointer_say_what_an_arm_is(self, html: str, tmp_path: Path) -> None:
        """The text of a line of a curve, where the pointer is on it, is that of its <title>."""
        findings = driven(
            html,
            tmp_path,
            """
            const titles = [...document.querySelectorAll("#curves svg title")];
            const path = titles.find((title) => title.textContent.startsWith("mid")).parentNode.querySelector("path");
            path.scrollIntoView({ block: "center" });
            const at = path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(path.getScreenCTM());
            const hit = document.elementFromPoint(at.x, at.y)?.closest("g:has(> title)");
            findings.hit = hit?.querySelector("title").textContent ?? "nothing";
            const items = [...document.querySelectorAll("ul.legend li")];
            findings.legend = items.map((item) => item.textContent.trim());
            const dots = items.map((item) => getComputedStyle(item.querySelector(".dot")).backgroundColor);
            findings.colours = new Set(dots).size;
            """,
        )
        assert findings["hit"].startswith("mid") and "end: 62.3" in findings["hit"]
        assert [text.split(":")[0] for text in findings["legend"]] == ["low", "mid", "high"]
        assert findings["colours"] == 3

    @pytest.mark.parametrize("width", [360, 1280])
    def test_nothing_is_wider_than_the_screen(self, html: str, tmp_path: Path, width: int) -> None:
        """In a frame, for a window has a least width."""
        script = """onload = () => {
            const root = document.querySelector("iframe").contentDocument.documentElement;
            root.querySelectorAll("details").forEach((details) => (details.open = true));
            document.title = [root.clientWidth, root.scrollWidth];
        }"""
        frame = f'<iframe width="{width}" height="900" frameborder="0" srcdoc="{escape(html)}"></iframe>'
        dom, _ = opened(f"<!doctype html>{frame}<script>{script}</script>", tmp_path)
        screen, wide = map(int, Page(dom).content.split(",")[:2])
        assert wide <= screen <= width and screen > width - 30
