"""Several studies: tables over their records, and the page of a folder of studies."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from harness.records.io import write_json
from harness.reports.collection import is_collection, part
from harness.reports.collection_page import write_overview
from harness.reports.includes import update_includes
from harness.reports.render import figures
from harness.studies.study import Study, load, names, parse
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401
from tests.harness.record_factory import a_record, unfinished, write, write_study
from tests.harness.studies.test_study import refused

H = {"id": "H1", "says": "a ends higher", "arms": ["a", "b"], "settle": "more seeds"}
ENDS = {"a": [0.9, 0.8, 0.85], "b": [0.4, 0.31, 0.34]}


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two studies that have run, one that has not."""
    monkeypatch.setattr(figures, "draw", lambda findings, folder: {})
    folder = tmp_path / "collection"
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


def test_one_row_per_hypothesis(full: Path) -> None:
    text = write_overview(full).read_text()
    later, one, two = rows(text, "hypotheses")
    assert [row[0] for row in (later, one, two)] == ["H1", "H1", "H2"]
    assert two[1] == "a ends higher" and "`arithmetic`" in two[2]
    assert two[3].startswith("+50.0 [") and two[4] == "**supported**"
    assert two[5:] == ["supported", "some/model, 160 completions, 3 seeds", "more seeds", "[two](two/report.md)"]
    assert one[4] == "**not yet run: 3 of 4 seeds**"
    assert later[3:7] == ["-", "not yet run: 0 of 5 seeds", "-", "nano, 10,240 completions, none of 5 seeds yet"]


def test_one_row_per_study(full: Path) -> None:
    later, one, two = rows(write_overview(full).read_text(), "studies")
    assert two[:2] == ["[two](two/report.md)", "Which?"] and "a is better than b" in two[2] and "50.0" in two[2]
    assert two[3:] == ["3 of 3", "0123456789", "120"]  # six runs of 20 s
    assert one[3] == "3 of 4"
    assert [*later[:2], *later[3:]] == ["[later](later/)", "When?", "0 of 5", "-", "0"]


def test_every_report_is_rewritten(full: Path) -> None:
    write_overview(full)
    assert (full / "one" / "report.md").exists() and (full / "two" / "report.html").exists()
    assert not (full / "later" / "report.md").exists()


def test_hand_written_text_is_kept(full: Path) -> None:
    page = write_overview(full)
    first = page.read_text()
    assert first.startswith("# collection\n")
    page.write_text(first.replace("# collection\n", "# Ours\n\nBy hand.\n") + "\nThe end, by hand.\n")
    write_study(full / "two", {"a": {0: [0.3, 0.5, 0.7]}, "b": {0: [0.3, 0.5, 0.4]}}, hypotheses=[{**H, "id": "H2"}])
    text = write_overview(full).read_text()
    assert text.startswith("# Ours\n\nBy hand.\n") and text.endswith("\nThe end, by hand.\n")
    assert text.count("<!-- report . ") == 2 and rows(text, "hypotheses")[2][3].startswith("+43.3 [")
    assert write_overview(full).read_text() == text


def test_the_parts_may_stand_in_another_document(full: Path) -> None:
    text = "x\n<!-- report collection studies -->\n<!-- /report -->\n"
    assert "[two](collection/two/report.md)" in update_includes(text, full.parent)
    message = refused(lambda: update_includes(text.replace("studies", "speed"), full.parent))
    assert message == "report: no part 'speed' of collection; valid: hypotheses, claims, studies, runs"


def test_one_row_per_claim(full: Path) -> None:
    """A hypothesis with all its seeds is in the column of its verdict; the seeds of H1 have not ended."""
    table = part(full, "collection", "claims")
    assert table.columns == ["claim", "supported", "contradicted", "undecided", "no verdict", "study"]
    h1, h2 = table.rows
    assert h1[:4] == ["H1", "-", "-", "-"] and h1[4].startswith("a ends higher: -<br>a ends higher: +50.0 [")
    assert h1[5] == "[later](collection/later/), [one](collection/one/report.md)"
    assert h2[1].startswith("a ends higher: +50.0 [") and h2[2:] == ["-", "-", "-", "[two](collection/two/report.md)"]
    for name in ("one", "later"):
        shutil.rmtree(full / name)
    assert part(full, "collection", "claims").columns[-2:] == ["undecided", "study"]


def test_every_verdict_has_its_column(full: Path) -> None:
    """At the end a beats b by 50 points; at the middle its seeds are higher, equal and lower."""
    claims = [{**H, "id": "x up"}, {**H, "id": "x down", "arms": ["b", "a"]}, {**H, "id": "x flat", "at": 0.5}]
    values = {
        arm: {s: [0.3, 0.5 + (s - 1) / 10 * (arm == "a"), y] for s, y in enumerate(of)} for arm, of in ENDS.items()
    }
    for name in ("two", "one", "later"):
        shutil.rmtree(full / name)
    write_study(full / "two", values, hypotheses=claims)
    [row] = part(full, "collection", "claims").rows
    assert row[0] == "x" and [cell.split("[")[0].strip() for cell in row[1:4]] == [
        "a ends higher: +50.0",
        "a ends higher: -50.0",
        "a ends higher: +0.0",
    ]


def test_claims_of_many_studies_are_one_family(full: Path) -> None:
    """Each study supports its one claim; of forty such claims together none is supported.  Claims without a verdict
    count for nothing."""
    gains = [0.03, 0.05, 0.04, 0.06, 0.01]  # t = 4.4 with 4 degrees of freedom: p = 0.01
    ends = {
        "a": {s: [0.3, 0.5, 0.4 + gain] for s, gain in enumerate(gains)},
        "b": {s: [0.3, 0.5, 0.4] for s in range(5)},
    }
    for name in ("two", "one"):
        shutil.rmtree(full / name)
    write_study(full / "s00", ends, hypotheses=[H])
    alone = part(full, "collection", "hypotheses")
    at = alone.columns.index("over all claims")
    assert [(row[at - 1], row[at]) for row in alone.rows] == [
        ("not yet run: 0 of 5 seeds", "-"),
        ("**supported**", "supported"),
    ]
    for i in range(1, 40):
        write_study(full / f"s{i:02}", ends, hypotheses=[H])
    verdicts = Counter((row[at - 1], row[at]) for row in part(full, "collection", "hypotheses").rows)
    assert verdicts == {("not yet run: 0 of 5 seeds", "-"): 1, ("**supported**", "undecided"): 40}


def test_what_is_a_collection(full: Path) -> None:
    assert is_collection(full) and not is_collection(full / "one") and not is_collection(full / "one" / "a")
    shutil.copy(full / "one" / "study.json", full / "study.json")
    assert not is_collection(full)


def test_single_runs_are_listed_beside_studies(full: Path) -> None:
    write(full / "mine [x]", a_record("a", 3, [0.3, 0.5, 0.9]))
    write(full / "later run", unfinished("a", 4, "failed", "ValueError: <b>no</b>"))
    text = write_overview(full).read_text()
    failed, mine = rows(text, "runs")
    assert mine[0].endswith("(mine%20%5Bx%5D)")
    assert mine[4:] == ["3", "160 completions", "90.0 (arithmetic, 100 problems)", "finished"]
    assert failed[-2] == "-" and failed[-1].startswith("failed: ValueError") and "<b>" not in failed[-1]
    assert len(rows(text, "studies")) == 3 and write_overview(full).read_text() == text


def test_a_folder_of_single_runs_alone(tmp_path: Path) -> None:
    write(tmp_path / "one", a_record("a", 0, [0.3, 0.5, 0.9]))
    assert is_collection(tmp_path) and not is_collection(tmp_path / "one")
    text = write_overview(tmp_path).read_text()
    assert text.count("<!-- report . ") == 1 and [row[0] for row in rows(text, "runs")] == ["[one](one)"]


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


def test_the_page_of_a_folder_is_not_written_through_a_link(full: Path, tmp_path: Path) -> None:
    """Neither the page itself nor the report of a study whose folder lies elsewhere."""
    (outside := tmp_path / "outside").write_text("# Mine\n")
    (full / "README.md").symlink_to(outside)
    with pytest.raises(ValueError, match=f"{full / 'README.md'}: is a link"):
        write_overview(full)
    (full / "README.md").unlink()
    shutil.move(full / "two", tmp_path / "two")
    (full / "two").symlink_to(tmp_path / "two")
    with pytest.raises(ValueError, match=f"{full / 'two'}: is a link"):
        write_overview(full)
    assert outside.read_text() == "# Mine\n"
    assert not [*full.glob("*/report.md"), *(tmp_path / "two").glob("report.*"), *full.glob("README.md")]
