"""Several studies: the list of what they cost, and the page over their records."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli import study_catalog
from harness.records.io import write_json
from harness.reports.collection import is_shelf, part
from harness.reports.collection_page import overview
from harness.reports.includes import refresh
from harness.reports.render import figures
from harness.studies import study
from harness.studies.study import Study, load, names, parse
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401
from tests.harness.record_factory import a_record, write, write_study
from tests.harness.studies.test_study import refused

# ---------------------------------------------------------------- harness ablate --list

SMALL = """
question = "Why?"
seeds = 2
base = { model = "nano", budget = "completions=320" }
arms.a.algo = "grpo"
arms.b.algo = "rft"
"""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One study ships, and OUT is empty."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "small.toml").write_text(SMALL)
    monkeypatch.setattr(study, "STUDIES", tmp_path / "studies")
    return tmp_path / "out"


def run(folder: Path, arm: str, seed: int, **fields: Any) -> None:
    """Of nano, 24 s for 160 completions."""
    record = a_record(arm, seed, [0.3, 0.5, 0.9], **fields)
    record["config"]["model"] = "nano"
    write(folder / arm / f"seed{seed}", record)


def test_what_nothing_is_known_of(shipped: Path) -> None:
    assert study_catalog.listed(str(shipped)) == ["small: Why?  [4 cells to run, unknown; no record]"]


def test_what_is_left_and_what_it_costs(shipped: Path) -> None:
    run(shipped / "small", "a", 0, algo="grpo")
    (line,) = study_catalog.listed(str(shipped))  # 48 s a cell for twice the completions, three cells
    assert line == f"small: Why?  [3 cells to run, about 2 min; 1 of 4 cells in {shipped}/small]"
    run(shipped / "small", "b", 0, status="failed")
    assert study_catalog.listed(str(shipped)) == [line], "a failed cell is none that has finished"
    assert "about 1 min" in study_catalog.listed(str(shipped), workers=2)[0]


def test_the_arms_own_runs_are_the_nearest(shipped: Path) -> None:
    """Another study's GRPO may be evaluated on less."""
    run(shipped / "other", "x", 0, algo="grpo", phases={"rollout": {"seconds": 2400.0}})
    assert "4 cells to run, about 320 min" in study_catalog.listed(str(shipped))[0]
    run(shipped / "small", "a", 0, algo="grpo")
    # a: 48 s; b, twice: the mean of both, (15 + 0.15) / 2 seconds a completion
    assert "3 cells to run, about 82 min" in study_catalog.listed(str(shipped))[0]


def test_a_record_may_lie_on_the_shelf(shipped: Path) -> None:
    place = shipped / "deepseekmath" / "small"
    for arm in "ab":
        for seed in (0, 1):
            run(place, arm, seed)
    assert study_catalog.listed(str(shipped)) == [f"small: Why?  [nothing to run; 4 of 4 cells in {place}]"]


def test_the_command_lists_every_study(call: Call, tmp_path: Path) -> None:  # noqa: F811
    code, said, error = call("ablate", "--list", "--out", str(tmp_path))
    assert (code, error) == (0, "")
    assert [line.partition(": ")[0] for line in said.splitlines()] == names()
    code, said, error = call("ablate", "--out", str(tmp_path))
    assert (code, said) == (2, "") and "study" in one_line(error) and "--list" in error


# ---------------------------------------------------------------- harness report SHELF

H = {"id": "H1", "says": "a ends higher", "arms": ["a", "b"], "settle": "more seeds"}
ENDS = {"a": [0.9, 0.8, 0.85], "b": [0.4, 0.31, 0.34]}


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two studies that have run, one that has not."""
    monkeypatch.setattr(figures, "draw", lambda findings, folder: [])
    folder = tmp_path / "shelf"
    values = {arm: {seed: [0.3, 0.5, y] for seed, y in enumerate(of)} for arm, of in ENDS.items()}
    write_study(folder / "two", values, question="Which?", hypotheses=[{**H, "id": "H2"}])
    write_study(folder / "one", values, question="Why?", seeds=[0, 1, 2, 3], hypotheses=[H])
    (folder / "later").mkdir()
    waiting = parse("later", {"arms": {"a": {}, "b": {"lr": 0.1}}, "seeds": 5, "question": "When?", "hypotheses": [H]})
    write_json(folder / "later" / "study.json", waiting.as_dict())
    return folder


def rows(text: str, part: str) -> list[list[str]]:
    inside = text.split(f"<!-- report . {part} -->")[1].split("<!-- /report -->")[0]
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in inside.splitlines() if line.startswith("|")][
        2:
    ]


def test_a_row_a_hypothesis(full: Path) -> None:
    text = overview(full).read_text()
    later, one, two = rows(text, "hypotheses")
    assert [row[0] for row in (later, one, two)] == ["H1", "H1", "H2"]
    assert two[1:3] == ["a ends higher", "a above b, `arithmetic` at the end"]
    assert two[3].startswith("+50.0 [") and two[4] == "**reproduced**"
    assert two[5:] == ["some/model, 160 completions, 3 seeds", "more seeds", "[two](two/report.md)"]
    assert one[4] == "**not yet run: 3 of 4 seeds**"
    assert later[3:6] == ["-", "not yet run: 0 of 5 seeds", "nano, 10,240 completions, none of 5 seeds yet"]


def test_a_row_a_study(full: Path) -> None:
    later, one, two = rows(overview(full).read_text(), "studies")
    assert two[:2] == ["[two](two/report.md)", "Which?"] and "a beats b by 50.0 points" in two[2]
    assert two[3:] == ["3 of 3", "0123456789", "120"]  # six runs of 20 s
    assert one[3] == "3 of 4"
    assert later == ["[later](later/)", "When?", "No run has finished.", "0 of 5", "-", "0"]


def test_every_studys_report_is_made_anew(full: Path) -> None:
    overview(full)
    assert (full / "one" / "report.md").exists() and (full / "two" / "report.html").exists()
    assert not (full / "later" / "report.md").exists()


def test_what_a_person_wrote_stays(full: Path) -> None:
    page = overview(full)
    first = page.read_text()
    assert first.startswith("# shelf\n")
    page.write_text(first.replace("# shelf\n", "# Ours\n\nBy hand.\n") + "\nThe end, by hand.\n")
    write_study(full / "two", {"a": {0: [0.3, 0.5, 0.7]}, "b": {0: [0.3, 0.5, 0.4]}}, hypotheses=[{**H, "id": "H2"}])
    text = overview(full).read_text()
    assert text.startswith("# Ours\n\nBy hand.\n") and text.endswith("\nThe end, by hand.\n")
    assert text.count("<!-- report . ") == 2 and rows(text, "hypotheses")[2][3].startswith("+43.3 [")
    assert overview(full).read_text() == text


def test_the_parts_may_stand_in_another_document(full: Path) -> None:
    text = "x\n<!-- report shelf studies -->\n<!-- /report -->\n"
    assert "[two](shelf/two/report.md)" in refresh(text, full.parent)
    message = refused(lambda: refresh(text.replace("studies", "speed"), full.parent))
    assert message == "report: no part 'speed' of shelf; valid: hypotheses, claims, studies"


def test_a_row_a_claim(full: Path) -> None:
    """A test that has all its seeds stands under its verdict; H1's have not ended."""
    table = part(full, "shelf", "claims")
    assert table.columns == ["claim", "reproduced", "not reproduced", "not separated", "not yet known", "study"]
    h1, h2 = table.rows
    assert h1[:4] == ["H1", "-", "-", "-"] and h1[4].startswith("a ends higher: -<br>a ends higher: +50.0 [")
    assert h1[5] == "[later](shelf/later/), [one](shelf/one/report.md)"
    assert h2[1].startswith("a ends higher: +50.0 [") and h2[2:] == ["-", "-", "-", "[two](shelf/two/report.md)"]
    for name in ("one", "later"):
        shutil.rmtree(full / name)
    assert part(full, "shelf", "claims").columns[-2:] == ["not separated", "study"]


def test_every_verdict_has_its_column(full: Path) -> None:
    """At the end a beats b by 50 points; half-way one of its seeds is above, one below and one beside b's."""
    claims = [{**H, "id": "x up"}, {**H, "id": "x down", "arms": ["b", "a"]}, {**H, "id": "x flat", "at": 0.5}]
    values = {
        arm: {s: [0.3, 0.5 + (s - 1) / 10 * (arm == "a"), y] for s, y in enumerate(of)} for arm, of in ENDS.items()
    }
    for name in ("two", "one", "later"):
        shutil.rmtree(full / name)
    write_study(full / "two", values, hypotheses=claims)
    [row] = part(full, "shelf", "claims").rows
    assert row[0] == "x" and [cell.split("[")[0].strip() for cell in row[1:4]] == [
        "a ends higher: +50.0",
        "a ends higher: -50.0",
        "a ends higher: +0.0",
    ]


def test_what_is_a_shelf(full: Path) -> None:
    assert is_shelf(full) and not is_shelf(full / "one") and not is_shelf(full / "one" / "a")
    shutil.copy(full / "one" / "study.json", full / "study.json")
    assert not is_shelf(full)


def test_the_command_makes_the_page(full: Path, call: Call) -> None:  # noqa: F811
    assert call("report", str(full)) == (0, f"{full / 'README.md'}\n", "")


def test_what_ablates_deepseekmath() -> None:
    """Each claim of the sheet that these studies are for is in one."""
    tested: dict[str, set[str]] = {}
    for found in map(load, names()):
        for h in found.hypotheses:
            tested.setdefault(h.id, set()).add(found.name)
    assert {"H5": {"dsm_fig7"}, "H6": {"ppo_lambda"}, "H7": {"dsm_table5"}}.items() <= tested.items()
    fig7: Study = load("dsm_fig7")
    assert all(2 * h.k <= fig7.base["eval_samples"] for h in fig7.hypotheses if h.k)
    assert len({c.config("x").eval_samples for c in fig7.runs()}) == 1
