"""The words of a report: each verdict as its sentence, and nothing said that was not shown."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.statistics.comparison import Verdict, judge, paired
from evals.statistics.learning_curves import Crossover
from harness.reports.analysis.interpolation import Late
from harness.reports.analysis.summary import Audit, Block, Findings, Pair, find
from harness.reports.loading import read
from harness.reports.render import text
from harness.reports.render.text import (
    amount,
    bracket,
    crossing,
    headline,
    listed,
    notes,
    p_value,
    points,
    unit,
    verdict,
    verdicts,
)
from tests.harness.record_factory import a_record, change, unfinished, write, write_study, write_trial

SEEDS = {s: [0.3, 0.5, y] for s, y in enumerate((0.9, 0.8, 0.85))}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Of three arms that are alike; tests put other pairs into it."""
    return find(read(write_study(tmp_path_factory.mktemp("wording") / "s", dict.fromkeys("abc", SEEDS))))


def pair(a: Sequence[float], b: Sequence[float], names: str = "ab", family: int = 1) -> Pair:
    """Judged as the first of a family of that many equal pairs."""
    return Pair(*names, judge([paired(a, b)] * family)[0], 0.5, None, None)


def about(a: str, b: str, kind: Any, mean: float, low: float = math.nan, high: float = math.nan, why: str = "") -> Pair:
    """A pair whose numbers are given."""
    found = paired([0.1, 0.2, 0.4], [0.0, 0.0, 0.0])
    of = dataclasses.replace(found, n=0 if why else 5, mean=mean, why=why)
    return Pair(a, b, Verdict(kind, of, 0.01, low, high, 0.034), 0.5, None, None)


# ---------------------------------------------------------------- numbers


def test_points() -> None:
    given = [0.957, 0.0, 1.0, -0.0, -0.0004, 0.0004, -0.00049, 0.12345, None, math.nan, math.inf]
    assert [points(x) for x in given] == [
        "95.7", "0.0", "100.0", "0.0", "0.0", "0.0", "0.0", "12.3", "-", "-", "-",
    ]  # fmt: skip
    signed = [points(x, sign=True) for x in (0.012, -0.012, 0.0, -0.0, -0.0004, math.nan)]
    assert signed == ["+1.2", "-1.2", "+0.0", "+0.0", "+0.0", "-"]


def test_points_are_never_minus_nothing() -> None:
    for x in np.linspace(-0.002, 0.002, 81):
        assert "-0.0" not in points(x) + points(x, sign=True) + bracket((x, x))


def test_other_numbers() -> None:
    assert [bracket((-0.01, 0.456)), bracket(None)] == ["[-1.0, 45.6]", "-"]
    assert [p_value(p) for p in (0.5, 0.0123456, 0.0001, 0.00009, 0.0, 1.0, math.nan)] == [
        "0.5000", "0.0123", "0.0001", "< 0.0001", "< 0.0001", "1.0000", "-",
    ]  # fmt: skip
    assert [amount(x) for x in (160.0, 200000.0, 999_999_999.0, 1e9, 1.25e15)] == [
        "160", "200,000", "999,999,999", "1e+09", "1.25e+15",
    ]  # fmt: skip
    assert [unit(u) for u in ("flops", "device_seconds", "generated_tokens", "updates")] == [
        "FLOPs", "device seconds", "generated tokens", "updates",
    ]  # fmt: skip
    assert [listed(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


# ---------------------------------------------------------------- verdicts

VERDICTS = [
    (about("ppo", "grpo", "A better", 0.0081, 0.0, 0.016), "ppo beats grpo by 0.8 points [0.0, 1.6]"),
    (about("ppo", "grpo", "B better", -0.0081, -0.016, -0.0), "grpo beats ppo by 0.8 points [0.0, 1.6]"),
    (about("a", "b", "B better", -0.25, -0.4, -0.1), "b beats a by 25.0 points [10.0, 40.0]"),
    (about("a", "b", "equivalent", -0.001, -0.015, 0.013), "a and b are equivalent within 2 points (-0.1 [-1.5, 1.3])"),
    (about("a", "b", "identical", 0.0, 0.0, 0.0), "a and b are identical, seed by seed (5 seeds)"),
    (
        about("a", "b", "not separated", 0.02, -0.01, 0.05),
        "a and b are not separated (+2.0 [-1.0, 5.0]; 5 seeds could have shown 3.4)",
    ),
    (
        about("a", "b", "no interval", 0.02, why="2 seeds; 3 at least"),
        "a and b cannot be compared yet (2 seeds; 3 at least)",
    ),
]


@pytest.mark.parametrize(("judged", "sentence"), VERDICTS)
def test_each_verdict_is_a_sentence(judged: Pair, sentence: str) -> None:
    assert verdict(judged, 2.0) == sentence


def test_the_margin_as_it_was_asked() -> None:
    assert "within 0.5 points" in verdict(about("a", "b", "equivalent", 0.0, -0.001, 0.001), 0.5)


LOW, HIGH = (0.30, 0.33, 0.27, 0.31), (0.60, 0.66, 0.59, 0.62)


def test_a_sentence_and_its_mirror() -> None:
    """A - B and B - A say the same."""
    one, other = verdict(pair(HIGH, LOW), 2), verdict(pair(LOW, HIGH, "ba"), 2)
    assert one == other and one.startswith("a beats b by 31.5 points [")


def test_what_is_separated_comes_first_then_the_larger() -> None:
    block = Block("", list("abcd"), [
        about("a", "b", "no interval", 0.9, why="x"), about("a", "c", "not separated", 0.1, -0.1, 0.3),
        about("a", "d", "A better", 0.05, 0.01, 0.09), about("b", "c", "B better", -0.2, -0.3, -0.1),
        about("b", "d", "equivalent", 0.01, 0.0, 0.02), about("c", "d", "not separated", -0.2, -0.5, 0.1),
    ])  # fmt: skip
    assert [re.findall(r"\b[abcd]\b", said)[:2] for said in verdicts(block, 2.0)] == [
        ["c", "b"], ["a", "d"], ["b", "d"], ["c", "d"], ["a", "c"], ["a", "b"],
    ]  # fmt: skip


# ---------------------------------------------------------------- headlines


def told(findings: Findings, pairs: list[Pair], arms: str = "abc", name: str = "") -> str:
    return headline(findings, Block(name, list(arms), pairs))


def test_headline_of_nobody_and_of_one(findings: Findings, tmp_path: Path) -> None:
    assert told(findings, [], "") == "At 160 completions no arm has a finished run."
    said = told(findings, [], "a", "no KL")
    assert re.fullmatch(
        r"At 160 completions \(no KL\) a ends at 85\.0 % \[72\.6, 97\.4\]; there is nothing to compare it with\.", said
    )
    alone = find(read(write(tmp_path / "one", a_record("a", 0, [0.3, 0.5, 0.9]))))
    assert (
        headline(alone, alone.blocks[0])
        == "At 160 completions grpo ends at 90.0 %; there is nothing to compare it with."
    )


def test_headline_of_a_pair_and_of_three(findings: Findings) -> None:
    beats = about("a", "b", "A better", 0.1, 0.05, 0.15)
    assert told(findings, [beats], "ab") == "At 160 completions a beats b by 10.0 points [5.0, 15.0]."
    three = [about("a", "c", "not separated", 0.02, -0.01, 0.05), beats, about("b", "c", "identical", 0.0, 0.0, 0.0)]
    assert told(findings, three) == (
        "At 160 completions a beats b by 10.0 points [5.0, 15.0]; a and c are not separated (+2.0 [-1.0, 5.0]; 5 seeds "
        "could have shown 3.4); b and c are identical, seed by seed (5 seeds)."
    )


def many(separated: Sequence[str], arms: str = "abcd") -> list[Pair]:
    """All pairs of the arms; "ab" in `separated` says that a beats b."""
    found = []
    for a, b in itertools.combinations(arms, 2):
        kind = "A better" if a + b in separated else "B better" if b + a in separated else "not separated"
        found.append(about(a, b, kind, 0.1 if kind == "A better" else -0.1, -0.2, 0.2))
    return found


HEADLINES = [
    ([], "of 6 pairs 6 are not separated."),
    (["dc"], "d beats c by 10.0 points [-20.0, 20.0]; of the other 5 pairs 5 are not separated."),
    (
        ["ab", "cb", "ac"],
        "a and c each beat b, by 10.0 points; a beats c by 10.0 points [-20.0, 20.0]; "
        "of the other 3 pairs 3 are not separated.",
    ),
    (
        ["ab", "ac", "ad", "bc", "bd", "cd"],
        "a, b and c each beat d, by 10.0 points; a and b each beat c, by 10.0 points; "
        "a beats b by 10.0 points [-20.0, 20.0]; every pair is separated.",
    ),
]


@pytest.mark.parametrize(("separated", "said"), HEADLINES)
def test_headline_of_many(separated: list[str], said: str, findings: Findings) -> None:
    assert told(findings, many(separated), "abcd") == f"At 160 completions {said}"


def test_a_headline_is_english(findings: Findings) -> None:
    """Of one pair that is left, and of pairs that have no interval."""
    one = told(findings, many(["ab", "ac", "ad", "bc", "bd"]), "abcd")
    none = told(findings, [about(a, b, "no interval", 0.1, why="1 seed") for a, b in itertools.combinations("abcd", 2)])
    assert "1 pairs" not in one and not re.search(r"(is|are) no interval", none)


def a_family(seed: int) -> tuple[dict[str, np.ndarray], list[Pair]]:
    """A few arms of a few seeds, alike or apart, and all pairs of them."""
    rng = np.random.default_rng(seed)
    spread, noise = rng.choice([0.0, 0.02, 0.2]), rng.choice([0.003, 0.03])
    values = {
        arm: 0.5 + spread * rng.standard_normal() + noise * rng.standard_normal(rng.integers(2, 7))
        for arm in "uvwxyz"[: rng.integers(2, 7)]
    }
    names = list(itertools.combinations(values, 2))
    found = judge([paired(*both(values, a, b)) for a, b in names])
    return values, [Pair(a, b, v, 0.5, None, None) for (a, b), v in zip(names, found, strict=True)]


def both(values: dict[str, np.ndarray], a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    n = min(len(values[a]), len(values[b]))
    return values[a][:n], values[b][:n]


def ranking(said: str) -> Iterator[tuple[str, str]]:
    """(winner, loser) of every "u beats v" and "u, v and w each beat x" of a headline."""
    for clause in said.split("; "):
        if "beat" in clause:
            winners, loser = re.split(r" each beat | beats ", clause)
            for winner in re.findall(r"\b[u-z]\b", winners):
                yield winner, loser[0]


def test_nothing_is_ranked_that_is_not_separated(findings: Findings) -> None:
    """Whatever the family: `beats` stands where the statistics said so, the right way round."""
    kinds, long = set(), 0
    for seed in range(25):
        values, pairs = a_family(seed)
        winners = {(p.a, p.b) for p in pairs if p.verdict.kind == "A better"}
        winners |= {(p.b, p.a) for p in pairs if p.verdict.kind == "B better"}
        kinds |= {p.verdict.kind for p in pairs}
        block = Block("", list(values), pairs)
        said, first = verdicts(block, 2.0), headline(findings, block)
        assert len(said) == len(pairs) and "-0.0" not in "".join(said)
        ranked = [line for line in said if "beats" in line]
        assert {tuple(re.findall(r"\b[u-z]\b", line)[:2]) for line in ranked} == winners
        assert all(np.diff([x.mean() for x in both(values, a, b)]) < 0 for a, b in winners)
        for line in ranked:
            by, low, high = (float(x) for x in re.findall(r"\d+\.\d", line))
            assert 0 <= low <= by <= high
        if len(pairs) > 3:
            long += bool(winners)
            assert set(ranking(first)) == winners
    assert len(kinds) == 5 and long > 4, "families that try nothing"


# ---------------------------------------------------------------- crossings and the audit

CROSSINGS = [
    (None, "-"),
    (Crossover(None, None, None, 1.0), "none"),
    (Crossover(0.75, 0.6, 0.9, 0.12), "120 [96, 144]; none in 12 %"),
    (Crossover(None, 0.6, 0.9, 0.88), "none [96, 144]; none in 88 %"),
    (Crossover(0.75, 0.75, 0.75, 0.0), "120 [120, 120]; none in 0 %"),
]


@pytest.mark.parametrize(("where", "said"), CROSSINGS)
def test_crossings(where: Crossover | None, said: str, findings: Findings) -> None:
    judged = dataclasses.replace(pair(LOW, HIGH), crossover=where)
    assert crossing(findings, judged) == said


def test_the_audit_says_when_it_does_not_hold() -> None:
    said = "Largest mismatch between spend and budget: 1.23 % or 0.5 groups (a seed 3); "
    assert text.audit(Audit("a seed 3", 0.0123, 0.5, True), None) == f"{said}within the bar of 1 % or one group."
    assert "**NOT within** the bar" in text.audit(Audit("a seed 3", 0.0123, 5, False), None)
    late = text.audit(Audit("a seed 3", 0, 0, True), Late("b seed 1", 0.75, 0.123))
    assert "12.3 % of the budget late (b seed 1, at 75 %)" in late
    assert text.audit(Audit("a seed 3", 0, 0, True), Late("b seed 1", 0.75, 0.0004)).endswith("one group.")


# ---------------------------------------------------------------- notes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(tmp_path / "s", dict.fromkeys("ab", SEEDS))


def noted(folder: Path, **table: Any) -> list[str]:
    if table:
        write_study(folder, {"a": {}, "b": {}}, **{"seeds": [0, 1, 2], **table})
    return notes(find(read(folder)))


def test_nothing_to_note(folder: Path) -> None:
    assert noted(folder) == []


def test_runs_that_are_missing(folder: Path) -> None:
    write(folder / "a" / "seed1", unfinished("a", 1, "failed", "RuntimeError: out of cheese"))
    write(folder / "b" / "seed2", unfinished("b", 2, "interrupted", "by the user"))
    assert noted(folder, seeds=[0, 1, 2, 5]) == [
        "a: without seed 1 (failed: RuntimeError: out of cheese) and seed 5 (not run); pairs with it have fewer seeds.",
        "b: without seed 2 (interrupted: by the user) and seed 5 (not run); pairs with it have fewer seeds.",
    ]


def test_arms_that_are_missing(folder: Path) -> None:
    for seed, reason in enumerate(("cheese", "wine")):
        write(folder / "c" / f"seed{seed}", unfinished("c", seed, "failed", reason))
    arms = {arm: {"algo": {"name": "grpo"}} for arm in "dabc"}
    assert noted(folder, arms=arms) == [
        "d has no finished run (no run yet) and is in no table.",
        "c has no finished run (seed 0: failed: cheese; seed 1: failed: wine) and is in no table.",
    ]


GRIDS: list[tuple[dict[str, list[Any]], dict[str, Any], bool]] = [
    ({"lr": [0.2, 0.1, 0.4]}, {"lr": 0.1}, True),
    ({"lr": [0.2, 0.1, 0.4]}, {"lr": 0.4}, True),
    ({"lr": [0.2, 0.1, 0.4]}, {"lr": 0.2}, False),
    ({"lr": [0.1]}, {"lr": 0.1}, False),
    ({"lr": [0.1, 0.2, 0.4], "algo.kl_coef": [0, 1, 2]}, {"lr": 0.2, "algo": {"kl_coef": 2}}, True),
    ({"lr": [0.1, 0.2, 0.4], "algo.kl_coef": [0, 1, 2]}, {"lr": 0.2, "algo": {"kl_coef": 1}}, False),
    ({"decay": ["constant", "linear"]}, {"decay": "linear"}, False),
    ({"algo.kl_importance": [False, True]}, {"algo": {"kl_importance": True}}, False),  # nothing lies outside
]


@pytest.mark.parametrize(("grid", "config", "at_the_edge"), GRIDS)
def test_tuning_at_the_edge_of_its_grid(
    grid: dict[str, list[Any]], config: dict[str, Any], at_the_edge: bool, folder: Path
) -> None:
    table = {"tune": {"grid": grid, "seeds": [100, 101]}, "report": {}}
    write_study(folder, {"a": {}, "b": {}}, **{"seeds": [0, 1, 2], **table})
    (first, *_) = read(folder).study.trials()
    for seed in (100, 101):
        write_trial(folder, "a", Path(first.folder).name, seed, 0.5)
    for seed in range(3):
        change(folder / "a" / f"seed{seed}", lambda r: r["config"].update(config))
    edge = "The best trial of a lies at an edge of its grid: a better value may lie outside, for it alone."
    assert noted(folder) == [edge] * at_the_edge


def test_several_at_the_edge(folder: Path) -> None:
    write_study(folder, {"a": {}, "b": {}}, seeds=[0, 1, 2], tune={"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101]})
    for arm in "ab":
        write_trial(folder, arm, "lr0.1", 100, 0.5)
        for seed in range(3):
            change(folder / arm / f"seed{seed}", lambda r: r["config"].update(lr=0.1))
    (said,) = noted(folder)
    assert said == (
        "The best trials of a and b lie at an edge of their grids: better values may lie outside, for them alone."
    )


def test_trials_under_another_budget(folder: Path) -> None:
    """The helper's runs have 160 completions."""
    other = "Trials had 80 completions, runs 160 completions: what is best for the one need not be for the other."
    for limit, said in (("80", [other]), ("160", [])):
        tune = {"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101], "base": {"budget": f"completions={limit}"}}
        assert noted(folder, tune=tune) == said


def test_an_arm_that_was_not_tuned(folder: Path) -> None:
    arms = {"a": {"algo": "grpo"}, "b": {"algo": "grpo", "tuned_as": "a"}}
    tune = {"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101]}
    assert noted(folder, arms=arms, tune=tune) == ["b was not tuned: it runs at what the trials of a chose."]


VARIETIES: list[tuple[dict[str, Any], str]] = [
    ({"commit": "f" * 40}, "The runs differ in commit: 0123456789 and ffffffffff."),
    ({"dirty": True}, "The runs differ in commit: 0123456789 and 0123456789 with local changes."),
    ({"threads": 4}, "The runs differ in threads: 1 and 4."),
    ({"device": "cuda:0"}, "The runs differ in device: cpu (a processor) and cuda:0 (a processor)."),
    ({"cpu": "another"}, "The runs differ in device: cpu (a processor) and cpu (another)."),
    ({"packages": {"torch": "2.8.0"}}, "The runs differ in torch: 2.7.0 and 2.8.0."),
]


@pytest.mark.parametrize(("changed", "said"), VARIETIES)
def test_runs_of_different_machines(changed: dict[str, Any], said: str, folder: Path) -> None:
    change(folder / "b" / "seed1", lambda r: r["environment"].update(changed))
    assert noted(folder) == [said]
