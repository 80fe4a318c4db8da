"""One question has one answer, whoever asks it and whatever stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import load_results
from harness.reports.render import tables
from harness.reports.render import text as wording
from tests.harness.record_factory import write_study
from tests.helpers import close

VALUES = {
    "a": {s: [0.3, 0.5, y] for s, y in enumerate((0.9, 0.8, 0.85))},
    "b": {s: [0.3, 0.4, y] for s, y in enumerate((0.6, 0.7, 0.5))},
    "c": {s: [0.3, 0.3, y] for s, y in enumerate((0.3, 0.31, 0.32))},
}
H: dict[str, Any] = {"id": "H", "says": "a above b", "arms": ["a", "b"]}


def findings_of(folder: Path, arms: str = "abc", **table: Any) -> Findings:
    fields = {"arms": {arm: {"algo": {"name": "grpo"}} for arm in arms}, "seeds": 3, **table}
    return summarize(load_results(write_study(folder, {arm: VALUES[arm] for arm in arms}, **fields)))


def test_a_claim_and_a_pair_that_ask_the_same_share_the_answer(tmp_path: Path) -> None:
    """In the claim's own direction; the family counts the question once."""
    f = findings_of(tmp_path / "s", hypotheses=[H, {**H, "arms": ["b", "a"], "expect": "not_above"}])
    pair = next(p for p in f.blocks[0].pairs if (p.a, p.b) == ("a", "b")).comparison
    one, other = (r.comparison for r in f.hypotheses)
    assert pair.family == 3 and one == pair
    close([other.pair.mean, other.low, other.high], [-pair.pair.mean, -pair.high, -pair.low])


def test_the_word_does_not_change_with_claims_about_an_arms_own_start(tmp_path: Path) -> None:
    gain = {"id": "G", "says": "a learns", "arms": ["a"], "expect": "gain"}
    alone, beside = (findings_of(tmp_path / name, hypotheses=h) for name, h in (("x", [H]), ("y", [H, gain])))
    assert beside.hypotheses[0].comparison == alone.hypotheses[0].comparison
    assert beside.hypotheses[1].comparison.family == 1


def test_post_hoc_claims_move_no_other_word_and_stand_apart(tmp_path: Path) -> None:
    later = {**H, "id": "L", "measure": "sorting", "post_hoc": True}
    alone, beside = (findings_of(tmp_path / name, hypotheses=h) for name, h in (("x", [H]), ("y", [H, later])))
    assert beside.hypotheses[0].comparison == alone.hypotheses[0].comparison
    assert beside.hypotheses[1].comparison.family == 4, "one more of all contrasts"
    assert [row[0] for row in tables.hypotheses(beside).rows] == ["H"]
    table = tables.hypotheses(beside, post_hoc=True)
    assert table.title == "Asked post hoc" and [row[0] for row in table.rows] == ["L"]
    assert wording.headline(beside, beside.blocks[0]) == wording.headline(alone, alone.blocks[0])


@pytest.mark.usefixtures("sampled_problems")
def test_a_gain_is_over_seeds_and_problems(tmp_path: Path) -> None:
    """Of 100 problems the start solves the first 30, and a the first 90, 80 and 85."""
    f = findings_of(tmp_path / "s", hypotheses=[{"id": "G", "says": "", "arms": ["a"], "expect": "gain"}])
    pair = f.hypotheses[0].comparison.pair
    close(pair.mean, 0.55)
    assert (pair.scope, pair.problems) == ("seeds and problems", 100) and pair.stderr > 0.05 / 3**0.5


@pytest.mark.usefixtures("sampled_problems")
def test_between_evaluations_a_difference_is_over_seeds(tmp_path: Path) -> None:
    f = findings_of(tmp_path / "s", hypotheses=[{**H, "at": 0.5}])
    assert f.hypotheses[0].comparison.pair.scope == "seeds"
