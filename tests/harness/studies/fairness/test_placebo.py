"""Placebo arms: what they are, what is asked of them, and how a gain over one is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.experiment import resolve_experiment
from harness.reports.analysis.power import asked_pairs
from harness.reports.analysis.summary import summarize
from harness.reports.loading import load_results
from harness.reports.render.text import headline
from harness.studies.fairness.placebo import with_placebo
from harness.studies.registration import asked, held_to, write_lock
from harness.studies.storage import stored_study
from tests.harness.record_factory import write_study
from tests.harness.studies.test_launcher import make_study, out, refused, tuned
from tests.helpers import close

__all__ = ["out"]


def test_the_two_arms_differ_from_theirs_in_the_reward_alone() -> None:
    study = with_placebo(make_study(), "a")
    assert list(study.arms) == ["a", "b", "a_coin", "a_format"] and study.report.placebo == "a_coin"
    runs = {run.arm: resolve_experiment(run.config("out")).as_dict() for run in study.runs() if run.seed == 0}
    different = {
        arm: {name for name in runs["a"] if runs[arm][name] != runs["a"][name]} - {"name", "out", "sources"}
        for arm in ("a_coin", "a_format")
    }
    assert different == {"a_coin": {"reward_noise"}, "a_format": {"reward_weights"}}
    assert runs["a_coin"]["reward_noise"] == 0.5 and runs["a_format"]["reward_weights"] == {"accuracy": 0, "format": 1}


def test_they_are_not_called_what_their_arm_is() -> None:
    arms = {"a": {"algo": {"name": "grpo"}, "label": "A", "about": "plain"}, "b": {"algo": {"name": "rft"}}}
    study = with_placebo(make_study(arms=arms), "a")
    assert [study.label(arm) for arm in study.arms] == ["A", "b", "a_coin", "a_format"] and not study.about("a_coin")


def test_they_take_their_arms_tuned_values() -> None:
    study = with_placebo(tuned(), "b")
    assert study.tuned_as("b_coin") == study.tuned_as("b_format") == "b" and {r.arm for r in study.trials()} == {*"ab"}


def test_asked_again_it_is_the_same_study() -> None:
    once = with_placebo(make_study(), "a")
    assert with_placebo(once, "a") == once


@pytest.mark.parametrize(
    ("arm", "own", "fragment"),
    [
        ("x", {}, "no arm 'x'; valid: a, b"),
        ("a", {"reward_noise": 0.1}, "not rewarded by the rule alone"),
        ("a", {"reward": "process-rule", "algo": {"name": "grpo", "supervision": "process"}}, "by the rule alone"),
    ],
)
def test_what_has_no_placebo_is_refused(arm: str, own: dict[str, Any], fragment: str) -> None:
    study = make_study(arms={"a": {"algo": {"name": "grpo"}, **own}, "b": {"algo": "rft"}})
    assert fragment in refused(lambda: with_placebo(study, arm))


def test_a_name_that_is_taken_is_refused() -> None:
    study = make_study(arms={"a": {"algo": "grpo"}, "a_coin": {"algo": "rft"}})
    assert "has an arm 'a_coin'" in refused(lambda: with_placebo(study, "a"))


def test_every_arm_is_asked_against_it_and_the_headline_begins_with_that(tmp_path: Path) -> None:
    ends = {"a": [0.9, 0.8, 0.85], "b": [0.7, 0.75, 0.7], "a_coin": [0.4, 0.5, 0.45], "a_format": [0.5, 0.5, 0.45]}
    arms = {arm: {s: [0.3, 0.4, y] for s, y in enumerate(values)} for arm, values in ends.items()}
    report = {"placebo": "a_coin", "family": [["a", "b"]]}
    folder = write_study(tmp_path / "s", arms, report=report)
    study = stored_study(folder)
    assert study is not None
    assert {frozenset(p) for p in asked_pairs(study)} == {
        frozenset(p) for p in (("a", "b"), ("a", "a_coin"), ("b", "a_coin"), ("a_format", "a_coin"))
    }
    findings = summarize(load_results(folder))
    (block,) = findings.blocks
    gained = {pair.a: pair.comparison.pair.mean for pair in block.pairs if pair.b == "a_coin"}
    close([gained[arm] for arm in ("a", "b", "a_format")], [0.4, 0.8 / 3, 0.1 / 3])
    assert {pair.comparison.family for pair in block.pairs} == {4}
    said = headline(findings, block)
    assert "over the placebo a_coin, a gains +40.0 points [" in said and "a_format gains +3.3" in said
    assert 0 < said.index("over the placebo") < said.index("; a ")  # and then the other pairs


def test_it_is_locked_and_old_locks_have_none(out: str) -> None:
    study = with_placebo(make_study(), "a")
    assert "placebo" not in asked(make_study()) and asked(study)["placebo"] == "a_coin"
    folder = Path(out)
    folder.mkdir(parents=True)
    lock = write_lock(folder, make_study(), None)
    assert "placebo was locked" in refused(lambda: held_to(lock, study, folder))
