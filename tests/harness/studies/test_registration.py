"""What a study asks is written before its first run, and not changed after it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.records.io import sha256
from harness.reports.loading import load_results
from harness.reports.report import write_report
from harness.studies.registration import FILE, later, read_lock
from harness.studies.storage import store_study, stored_study
from harness.studies.study import Study, parse
from tests.harness.record_factory import write_study

VALUES = {s: [0.3, 0.5, y] for s, y in enumerate((0.9, 0.8, 0.85))}
CLAIM = {"id": "H1", "says": "a above b", "arms": ["a", "b"]}


def study(**changes: Any) -> Study:
    table: dict[str, Any] = {
        "question": "Which?",
        "prediction": "a",
        "arms": {"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "ppo"}}},
        "seeds": 3,
        "base": {"eval_fractions": [0, 0.5, 1]},
        "hypotheses": [CLAIM],
        **changes,
    }
    return parse("s", table)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study that is about to run."""
    store_study(tmp_path / "s", study())
    return tmp_path / "s"


def test_the_lock_says_what_is_asked_and_when(folder: Path) -> None:
    lock = read_lock(folder)
    assert lock is not None and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lock.locked or "")
    assert (lock.asked["margin"], lock.asked["question"], lock.arms) == (2.0, "Which?", ["a", "b"])
    assert [claim["arms"] for claim in lock.asked["claims"]] == [["a", "b"]]
    assert json.loads((folder / FILE).read_text())["environment"]["packages"]["torch"]
    before = (folder / FILE).read_bytes()
    store_study(folder, study())  # the same again: as for every later run
    assert (folder / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"report": {"margin": 2.1}}, ["margin was locked", "2.0", "2.1"]),
        ({"report": {"endpoint": "arithmetic_t1"}}, ["endpoint was locked", "arithmetic_t1"]),
        ({"report": {"problems": "fixed"}}, ["problems was locked"]),
        ({"report": {"family": [["a", "b"]]}}, ["family was locked"]),
        ({"report": {"blocks": {"one": ["a"]}}}, ["blocks were locked", "a and b"]),
        ({"prediction": "b"}, ["prediction was locked", '"a"', '"b"']),
        ({"question": "Who?"}, ["question was locked"]),
        ({"tune": {"grid": {"lr": [1e-4, 2e-4]}, "seeds": [100, 101]}}, ["tune was locked"]),
        ({"hypotheses": []}, ["a claim of a and b", "missing or changed"]),
        ({"hypotheses": [{**CLAIM, "expect": "alike"}]}, ["a claim of a and b", "missing or changed"]),
        ({"hypotheses": [{**CLAIM, "arms": ["b", "a"]}]}, ["a claim of a and b"]),
        ({"arms": {"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "rft"}}}}, ["arm 'b' was locked"]),
    ],
)
def test_what_is_locked_is_not_changed(folder: Path, changes: dict[str, Any], fragments: list[str]) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ValueError) as said:
        store_study(folder, study(**changes))
    message = str(said.value)
    assert "\n" not in message and [f for f in (str(folder), *fragments) if f not in message] == []
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


THREE = {"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "ppo"}}, "c": {"algo": {"name": "rft"}}}
TWO = {"blocks": {"x": ["a", "b"], "y": ["b", "c"]}}


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ({}, {"blocks": {"x": ["a", "b"]}}, "a and c"),
        (TWO, {}, "a and c"),
        (TWO, {"blocks": {"x": ["a", "b"]}}, "b and c"),
        (TWO, {"blocks": {"x": ["a", "b", "c"]}}, "a and c"),
        (TWO, {"blocks": {"one": ["b", "a"], "two": ["c", "b"]}}, None),  # names and order are words
        (TWO, {"blocks": {**TWO["blocks"], "later": ["a", "d"], "y": ["b", "c", "d"]}}, None),  # a later arm's pairs
    ],
)
def test_the_pairs_that_blocks_compare_are_locked(
    before: dict[str, Any], after: dict[str, Any], moved: str | None, tmp_path: Path
) -> None:
    store_study(tmp_path / "s", study(arms=THREE, report=before))
    later_arm = {"d": {"algo": {"name": "dpo"}}} if moved is None else {}
    changed = study(arms={**THREE, **later_arm}, report=after)
    if moved is None:
        store_study(tmp_path / "s", changed)
        return
    with pytest.raises(ValueError, match=f"blocks were locked .* {moved} now"):
        store_study(tmp_path / "s", changed)


def test_a_study_of_before_there_were_locks_is_not_locked_by_a_call_that_is_refused(folder: Path) -> None:
    (folder / FILE).unlink()
    with pytest.raises(ValueError, match="question was locked"):
        store_study(folder, study(question="Who?"))
    assert not (folder / FILE).exists()


def test_a_lock_of_before_blocks_were_in_it_is_read(folder: Path) -> None:
    table = json.loads((folder / FILE).read_text())
    del table["asked"]["blocks"]
    table["sha256"] = sha256(json.dumps(table["asked"], sort_keys=True).encode())
    (folder / FILE).write_text(json.dumps(table))
    store_study(folder, study(report={"blocks": {"one": ["a", "b"]}}))


def test_what_a_claim_is_called_may_change(folder: Path) -> None:
    store_study(folder, study(hypotheses=[{**CLAIM, "says": "in other words", "note": "x", "settle": "more"}]))
    stored = stored_study(folder)
    assert stored is not None and not stored.hypotheses[0].post_hoc


def test_what_an_arm_is_called_may_change(folder: Path) -> None:
    """Labels are for readers: no run and no verdict has anything of them."""
    arms = {"a": {"algo": {"name": "grpo"}, "label": "A", "about": "the first"}, "b": {"algo": {"name": "ppo"}}}
    called = study(arms=arms)
    assert [run.fields for run in called.runs()] == [run.fields for run in study().runs()]
    store_study(folder, called)
    stored = stored_study(folder)
    assert stored == called and (called.label("a"), called.about("a"), called.label("b")) == ("A", "the first", "b")
    with pytest.raises(ValueError, match="arm 'a' was locked"):
        store_study(folder, study(arms={**arms, "a": {**arms["a"], "lr": 1.0}}))


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"label": "b"}, "b": {}}, "two arms are called 'b'"),
        ({"a": {"label": 3}, "b": {}}, "arms.a.label: must be a text, not 3"),
        ({"a": {"about": " "}, "b": {}}, "arms.a.about: must be a text"),
    ],
)
def test_a_label_is_a_text_of_one_arm(arms: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(arms=arms)


def test_what_is_asked_later_is_post_hoc(folder: Path) -> None:
    """A claim by its mark; an arm and a seed by name."""
    arms = {"a": {"algo": {"name": "grpo"}}, "b": {"algo": {"name": "ppo"}}, "c": {"algo": {"name": "rft"}}}
    for _ in range(2):  # and stays so
        store_study(folder, study(arms=arms, seeds=5, hypotheses=[CLAIM, {**CLAIM, "expect": "alike"}]))
        stored = stored_study(folder)
        assert stored is not None and [h.post_hoc for h in stored.hypotheses] == [False, True]
        assert later(read_lock(folder), stored) == (["c"], [3, 4])


def test_a_lock_that_was_edited_is_no_lock(folder: Path) -> None:
    table = json.loads((folder / FILE).read_text())
    table["asked"]["margin"] = 5
    (folder / FILE).write_text(json.dumps(table))
    with pytest.raises(ValueError, match=r"study\.lock: its sha256"):
        store_study(folder, study(report={"margin": 5}))
    (folder / FILE).write_text("{")
    with pytest.raises(ValueError, match=r"study\.lock: not a study's lock"):
        stored_study(folder)


# ---------------------------------------------------------------- a finished study


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A study of before there were locks, its runs finished, then locked as it stands."""
    table = {"arms": {arm: {"algo": {"name": "grpo"}} for arm in "ab"}, "seeds": 3, "hypotheses": [CLAIM]}
    folder = write_study(tmp_path / "old", dict.fromkeys("ab", VALUES), **table)
    before = stored_study(folder)
    assert before is not None
    store_study(folder, before)
    return folder


def test_a_study_of_before_there_were_locks(finished: Path) -> None:
    """Its lock has no date, and the report says so."""
    lock = read_lock(finished)
    assert lock is not None and lock.locked is None
    write_report(finished)
    assert "The question was not locked before the first run" in (finished / "report.md").read_text()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["report", "margin"], 2.1),
        (["report", "endpoint"], "arithmetic_t1"),
        (["prediction"], "something else"),
        (["hypotheses", 0, "expect"], "alike"),
    ],
)
def test_a_finished_study_gives_no_new_headline(finished: Path, path: list[Any], value: Any) -> None:
    """By editing study.json: the report refuses, with one line, and the old report stands."""
    write_report(finished)
    report = (finished / "report.md").read_bytes()
    table = json.loads((finished / "study.json").read_text())
    *way, last = path
    inner = table
    for step in way:
        inner = inner[step]
    inner[last] = value
    (finished / "study.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match="locked on"):
        load_results(finished)
    assert (finished / "report.md").read_bytes() == report


def test_a_claim_that_is_added_by_hand_is_post_hoc(finished: Path) -> None:
    table = json.loads((finished / "study.json").read_text())
    table["hypotheses"].append({**table["hypotheses"][0], "id": "H9", "expect": "not_below"})
    (finished / "study.json").write_text(json.dumps(table))
    write_report(finished)
    page = (finished / "report.md").read_text()
    assert "## Asked post hoc" in page and "**H9" not in page.partition("## ")[0]


def test_the_report_names_when_the_question_was_locked_and_what_came_after(tmp_path: Path) -> None:
    folder, arms = tmp_path / "new", {arm: {"algo": {"name": "grpo"}} for arm in "abc"}
    table: dict[str, Any] = {"base": {"eval_fractions": [0, 0.5, 1]}}
    write_study(folder, dict.fromkeys("abc", VALUES))
    (folder / "study.json").unlink(missing_ok=True)
    store_study(folder, parse("new", {**table, "arms": {a: arms[a] for a in "ab"}, "seeds": [0, 1, 2]}))
    store_study(folder, parse("new", {**table, "arms": arms, "seeds": [0, 1, 2, 3]}))
    findings = write_report(folder)
    page, lock = (folder / "report.md").read_text(), read_lock(folder)
    assert lock is not None and f"locked on {lock.locked}" in page
    assert "c was added after that" in page and "Seed 3 came after that" in page
    pairs = findings.blocks[0].pairs
    assert [(p.a + p.b, p.post_hoc) for p in pairs] == [("ab", False), ("ac", True), ("bc", True)]
    assert [p.comparison.family for p in pairs] == [1, 3, 3]
