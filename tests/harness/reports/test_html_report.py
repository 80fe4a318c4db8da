from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import load_results
from harness.reports.render import text as wording
from harness.reports.render.html_report import html_page, prose
from harness.reports.render.provenance import commands
from tests.harness.record_factory import a_record, unfinished, write, write_study, write_trial

HOSTILE = "</script><img src=x onerror=alert(1)> <b>bold</b> &amp; \u2028\ud800 <script>window.pwned = 1</script>\n  so"
MEMORY = {"peak_bytes": 2**21, "parts": {"policy": {"bytes": 2**20}, "kv_cache": {"bytes": 2**18}}}


class Page(HTMLParser):
    """Elements and text of a page; what a script or a style holds is not text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside, self.said = "", ""
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
            self.said += data

    @property
    def text(self) -> str:
        return " ".join(self.said.split())

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def a_study(folder: Path) -> Path:
    """Three arms and one that has failed, seeds that are missing, trials, and completions that mean harm."""
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
            write(folder / arm / f"seed{seed}", record, text=lambda where, i: HOSTILE)
        for trial in ("lr0.1", "lr0.2"):
            for seed in (7, 8):
                write_trial(folder, arm, trial, seed, 0.4 + seed / 100)
    write(folder / "lost" / "seed0", unfinished("lost", 0, "failed", "ValueError: <i>no</i>"))
    write(folder / "high" / "seed2", unfinished("high", 2, "failed", "ValueError: <i>no</i>"))
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return summarize(load_results(a_study(tmp_path_factory.mktemp("page") / "study")))


@pytest.fixture(scope="module")
def html(found: Findings) -> str:
    return page(found)


def test_the_same_records_give_the_same_bytes(found: Findings, html: str) -> None:
    assert html_page(summarize(load_results(found.results.one.folder.parent.parent))).encode() == html.encode()


def test_nothing_is_asked_from_outside(html: str) -> None:
    assert set(re.findall(r"https?://[^\"' )]*", html)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML|eval\(", html)
    links = [x for _, attributes in Page(html).tags for name in ("src", "href") if (x := attributes.get(name))]
    assert links and all(link.startswith("#") for link in links)


def test_only_its_own_script_may_run(html: str) -> None:
    parsed = Page(html)
    policy = next(a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(parsed.scripts[1].encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; ") and f"script-src 'sha256-{digest}';" in policy
    assert [a for tag, a in parsed.tags if tag == "script"] == [{"type": "application/json", "id": "data"}, {}]


def test_completions_are_text(html: str) -> None:
    parsed = Page(html)
    assert not {"img", "b"} & parsed.names()
    assert len(parsed.scripts) == 2
    assert not re.search("[<>&\u2028]", parsed.scripts[0])
    assert HOSTILE.split("\ud800")[0] in parsed.said and HOSTILE.split("\ud800")[1] in parsed.said
    html.encode()  # half a character would not


def test_everything_is_on_the_page(found: Findings, html: str) -> None:
    text, margin = Page(html).text, found.results.study.report.margin
    expected = [wording.headline(found, block) for block in found.blocks]
    expected += [sentence for block in found.blocks for sentence in wording.verdicts(block, margin)]
    expected += [*wording.notes(found), wording.audit(found.audit, found.delay), *commands(found.results), *found.arms]
    expected += ["Is a < b & c?", "a paper", "No interval for high: it takes 3 seeds.", "seed 2 (failed"]
    assert len(expected) > 15
    assert [words for words in expected if " ".join(words.split()) not in text] == []
    assert text.index(expected[0]) < text.index("Accuracy")  # the verdict first


def test_what_the_charts_get(found: Findings, html: str) -> None:
    data = Page(html).data
    assert data == json.loads(json.dumps(finite(charts(found))))
    arms = {arm["name"]: arm for arm in data["arms"]}
    assert [arm["shown"] for arm in arms.values()] == [True, True, False]  # the first block's
    assert arms["mid"]["curves"]["arithmetic"]["mean"] == found.arms["mid"].curves["arithmetic"].mean_F
    assert arms["low"]["spend"]["completions"] == [0, 80, 160]
    assert [seed["value"] for seed in arms["high"]["seeds"]] == [0.9, 0.91, None]
    assert [part["label"] for part in data["memory"]["parts"]] == ["policy", "kv cache"]
    assert [bar["total"] for bar in data["memory"]["bars"]] == ["1.2 MiB"] * 3
    phases = data["phases"]
    assert [(part["label"], part["pale"]) for part in phases["parts"]] == [
        ("rollout", False), ("update", False), ("eval", True),
    ]  # fmt: skip
    assert {bar["total"] for bar in phases["bars"]} == {"20.0 s + 4.0 s"}
    assert [trial["label"] for trial in data["trials"][0]["trials"]] == ["0.1", "0.2"]
    assert [trial["chosen"] for trial in data["trials"][0]["trials"]] == [True, False]


def test_json_has_no_nan() -> None:
    assert finite({"a": [float("nan"), (float("inf"), 1.5)], "b": None}) == {"a": [None, [None, 1.5]], "b": None}


def test_our_own_sentences() -> None:
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
    return write(folder, a_record("only", 0, [0.3, 0.4, 0.5]))


def without_outcomes(folder: Path) -> Path:
    study = two_seeds(folder)
    for file in study.glob("*/seed*/record.json"):
        record = json.loads(file.read_text())
        record["evals"] = [{**row, "outcomes": ""} for row in record["evals"]]
        file.write_text(json.dumps(record))
    return study


STATES = {
    one_arm: ({"#pairs", "#cost", "#tuning"}, "No interval for only: it takes 3 seeds."),
    two_seeds: ({"#tuning"}, "No interval for a and b: it takes 3 seeds."),
    two_points: ({"#tuning"}, "a and b"),
    one_run: ({"#pairs", "#cost", "#tuning"}, "nothing to compare"),
    without_outcomes: ({"#tuning", "#samples"}, "a and b"),
}


@pytest.mark.parametrize("make", STATES)
def test_what_is_not_there_is_left_out(make: Callable[[Path], Path], tmp_path: Path) -> None:
    missing, said = STATES[make]
    parsed = Page(html_page(summarize(load_results(make(tmp_path / "study")))))
    links = {a["href"] for tag, a in parsed.tags if tag == "a"} - {"#statistics"}
    assert {"#accuracy", "#curves", "#seeds", "#spend", "#commands"} <= links and not missing & links
    assert links <= {f"#{a.get('id')}" for _, a in parsed.tags}
    assert said in parsed.text


# --- in a browser -----------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = """
const chart = (name, of) => document.querySelector(`[data-chart=${name}] ${of}`);
const all = (name, of) => [...document.querySelectorAll(`[data-chart=${name}] ${of}`)];
const ticks = (name) => all(name, ".tick").map((tick) => tick.textContent);
const choose = (name, what, value) => {
  const box = chart(name, `[name=${what}]`);
  box.value = value;
  box.dispatchEvent(new Event("change"));
};
const found = {};
%s
found.pwned = window.pwned ?? null;
found.title = document.title;
found.requests = performance.getEntriesByType("resource").length;
document.body.replaceChildren(document.createElement("pre"));
document.querySelector("pre").textContent = JSON.stringify(found);
"""


def opened(html: str, folder: Path) -> tuple[str, list[str]]:
    """What a browser makes of a page, and the addresses that the page (not the browser for itself) has asked for."""
    assert CHROMIUM is not None
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--window-size=1280,900"]
    flags += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    run = subprocess.run([CHROMIUM, *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=60)
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return run.stdout, [e["url"] for e in events if e.get("initiator", "not an origin") != "not an origin"]


def driven(html: str, folder: Path, script: str) -> dict[str, Any]:
    """What a script in the page finds; it is let in by its hash, as the page's own."""
    code = DRIVER % script
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    html = html.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    html = html.replace("</body>", f"<script>{code}</script></body>")
    dom, _ = opened(html, folder)
    return dict(json.loads(Page(dom).said.strip().splitlines()[-1]))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
class TestInABrowser:
    def test_charts_draw_and_nothing_is_asked_for(self, html: str, tmp_path: Path) -> None:
        dom, asked = opened(html, tmp_path)
        parsed = Page(dom)
        assert asked == []
        figures = [a for tag, a in parsed.tags if tag == "figure"]
        assert len(figures) == 6 and not any("hidden" in a for a in figures)
        classes = [str(a.get("class")) for tag, a in parsed.tags if tag == "path"]
        assert sum(c.startswith("curve") for c in classes) >= 5 and any(c.startswith("band") for c in classes)
        assert not {"img", "b"} & parsed.names()

    def test_a_request_would_be_seen(self, tmp_path: Path) -> None:
        _, asked = opened('<!doctype html><img src="https://nowhere.invalid/x.png">', tmp_path)
        assert asked == ["https://nowhere.invalid/x.png"]

    def test_axes_and_sets_can_be_switched(self, html: str, tmp_path: Path) -> None:
        found = driven(
            html,
            tmp_path,
            """
            found.first = [ticks("curves"), chart("curves", ".curve").getAttribute("d")];
            sample_token("curves", "unit", "flops");
            found.flops = ticks("curves");
            sample_token("curves", "set", "sorting");
            found.titles = all("curves", ".title").map((title) => title.textContent);
            sample_token("cost", "unit", "updates");
            found.cost = all("cost", ".title").map((title) => title.textContent);
            """,
        )
        assert "160" in found["first"][0] and "2 T" in found["flops"] and "160" not in found["flops"]
        assert found["titles"] == ["FLOPs", "accuracy on sorting, %"]
        assert found["cost"] == ["updates", "accuracy on arithmetic, %"]
        assert (found["title"], found["pwned"], found["requests"]) == ("study", None, 0)

    def test_arms_and_points_can_be_asked_for(self, html: str, tmp_path: Path) -> None:
        found = driven(
            html,
            tmp_path,
            """
            const lines = () => all("curves", ".plot .curve").length;
            const press = (key) => chart("curves", ".plot > svg").dispatchEvent(new KeyboardEvent("keydown", { key }));
            const toggles = all("curves", ".arm");
            const states = () => toggles.map((toggle) => toggle.getAttribute("aria-pressed"));
            found.lines = [lines()];
            toggles[2].click();
            found.lines.push(lines());
            toggles[0].click();
            found.lines.push(lines());
            found.states = states();
            found.rows = all("seeds", ".plot .name").map((name) => name.textContent);
            press("ArrowRight");
            press("ArrowRight");
            found.tip = chart("curves", ".tip").innerText;
            press("Escape");
            found.gone = chart("curves", ".tip").hidden;
            """,
        )
        assert found["lines"] == [2, 3, 2] and found["states"] == ["false", "true", "true"]
        assert found["rows"] == ["mid", "high"]
        assert found["tip"].split("\n")[0] == "mid" and "50 %: 80 completions" in found["tip"] and found["gone"]

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
        screen, wide = map(int, Page(dom).said.split(",")[:2])
        assert wide <= screen <= width and screen > width - 30

    @pytest.mark.parametrize("make", STATES)
    def test_empty_states_draw(self, tmp_path: Path, make: Callable[[Path], Path]) -> None:
        dom, _ = opened(html_page(summarize(load_results(make(tmp_path / "study")))), tmp_path)
        assert sum(tag == "svg" and a.get("role") == "img" for tag, a in Page(dom).tags) >= 4
