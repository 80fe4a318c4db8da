"""The prose of a report: which arms, which result and which numbers a sentence has; not its wording."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.statistics.comparison import Comparison, compare_pairs, paired
from evals.statistics.learning_curves import Crossover
from harness.reports.analysis.budget_audit import Audit, Delay
from harness.reports.analysis.summary import Block, Findings, Pair, summarize
from harness.reports.loading import load_results
from harness.reports.render import text
from harness.reports.render.caveats import cautions, notes
from harness.reports.render.tables import tuning
from harness.reports.render.text import (
    amount,
    bracket,
    crossover_text,
    headline,
    join_words,
    p_value,
    pair_sentence,
    pair_sentences,
    points,
    seed_list,
    unit,
)
from tests.harness.record_factory import a_record, change, unfinished, write, write_study, write_trial

SEEDS = {s: [0.3, 0.5, y] for s, y in enumerate((0.9, 0.8, 0.85))}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Three equal arms; tests replace the pairs."""
    folder = write_study(tmp_path_factory.mktemp("text") / "s", dict.fromkeys("abc", SEEDS))
    return summarize(load_results(folder))


def pair(a: Sequence[float], b: Sequence[float], names: str = "ab", family: int = 1) -> Pair:
    """The first of a family of equal pairs."""
    return Pair(*names, compare_pairs([paired(a, b)] * family)[0], 0.5, None, None)


def about(a: str, b: str, kind: Any, mean: float, low: float = math.nan, high: float = math.nan, why: str = "") -> Pair:
    """A pair with given numbers."""
    of_three = paired([0.1, 0.2, 0.4], [0.0, 0.0, 0.0])
    difference = dataclasses.replace(of_three, n=0 if why else 5, mean=mean, why=why)
    return Pair(a, b, Comparison(kind, difference, 0.01, low, high, 0.95), 0.5, None, None)


def numbers(sentence: str) -> list[float]:
    return [float(x) for x in re.findall(r"[+-]?\d+\.?\d*", sentence)]


# ---------------------------------------------------------------- numbers


def test_points() -> None:
    given = [0.957, 0.0, 1.0, -0.0, -0.0004, 0.0004, -0.00049, 0.12345, None, math.nan, math.inf]
    assert [points(x) for x in given] == [
        "95.7", "0.0", "100.0", "0.0", "0.0", "0.0", "0.0", "12.3", "-", "-", "-",
    ]  # fmt: skip
    signed = [points(x, sign=True) for x in (0.012, -0.012, 0.0, -0.0, -0.0004, math.nan)]
    assert signed == ["+1.2", "-1.2", "+0.0", "+0.0", "+0.0", "-"]


def test_points_are_never_negative_zero() -> None:
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
    assert [join_words(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert [seed_list(x) for x in ([4], [6, 5], [9, 5, 7, 6])] == ["seed 4", "seeds 5 and 6", "seeds 5 to 7 and 9"]


# ---------------------------------------------------------------- pairs

SENTENCES: list[tuple[Pair, str, list[float]]] = [  # pair, words of its result, numbers in their order
    (about("ppo", "grpo", "A better", 0.0281, 0.01, 0.046), r"ppo is better than grpo", [2.8, 1.0, 4.6]),
    (about("a", "b", "B better", -0.25, -0.4, -0.1), r"b is better than a", [25.0, 10.0, 40.0]),
    (about("ppo", "grpo", "A ahead", 0.0081, 0.001, 0.016), r"ppo is ahead of grpo", [0.8, 0.1, 1.6, 2]),
    (about("ppo", "grpo", "B ahead", -0.0081, -0.016, -0.001), r"grpo is ahead of ppo", [0.8, 0.1, 1.6, 2]),
    (about("a", "b", "equivalent", -0.001, -0.015, 0.013), r"a and b .*equivalent", [2, -0.1, -1.5, 1.3]),
    (about("a", "b", "identical", 0.0, 0.0, 0.0), r"a and b .*identical", [5]),
    (about("a", "b", "undecided", 0.02, -0.01, 0.05), r"a against b .*undecided", [2.0, -1.0, 5.0, 49.9, 5]),
    (about("a", "b", "no interval", 0.02, why="2 seeds; none"), r"a and b .*not .*2 seeds; none", [2]),
]


@pytest.mark.parametrize(("compared", "words", "values"), SENTENCES, ids=lambda x: x if isinstance(x, str) else "")
def test_a_sentence_has_the_result_and_its_numbers(compared: Pair, words: str, values: list[float]) -> None:
    sentence = pair_sentence(compared, 2.0)
    assert re.match(words, sentence) and numbers(sentence) == values


def test_every_kind_has_its_own_sentence() -> None:
    """Better and ahead are ranked, and told apart."""
    sentences = {compared.comparison.kind: pair_sentence(compared, 2.0) for compared, _, _ in SENTENCES}
    assert {kind for kind, sentence in sentences.items() if "better" in sentence} == {"A better", "B better"}
    assert {kind for kind, sentence in sentences.items() if "ahead" in sentence} == {"A ahead", "B ahead"}


def test_the_margin_is_in_the_sentence() -> None:
    assert 0.5 in numbers(pair_sentence(about("a", "b", "equivalent", 0.0, -0.001, 0.001), 0.5))


LOW, HIGH = (0.30, 0.33, 0.27, 0.31), (0.60, 0.66, 0.59, 0.62)


def test_a_pair_and_its_mirror_have_one_sentence() -> None:
    assert pair_sentence(pair(HIGH, LOW), 2) == pair_sentence(pair(LOW, HIGH, "ba"), 2)
    assert numbers(pair_sentence(pair(HIGH, LOW), 2))[0] == 31.5


def test_separated_pairs_come_first_then_larger_differences() -> None:
    block = Block("", list("abcd"), [
        about("a", "b", "no interval", 0.9, why="x"), about("a", "c", "undecided", 0.1, -0.1, 0.3),
        about("a", "d", "A better", 0.05, 0.01, 0.09), about("b", "c", "B better", -0.2, -0.3, -0.1),
        about("b", "d", "equivalent", 0.01, 0.0, 0.02), about("c", "d", "undecided", -0.2, -0.5, 0.1),
    ])  # fmt: skip
    assert [re.findall(r"\b[abcd]\b", sentence)[:2] for sentence in pair_sentences(block, 2.0)] == [
        ["c", "b"], ["a", "d"], ["b", "d"], ["c", "d"], ["a", "c"], ["a", "b"],
    ]  # fmt: skip


# ---------------------------------------------------------------- headlines


def headline_of(findings: Findings, pairs: list[Pair], arms: str = "abc", name: str = "") -> str:
    return headline(findings, Block(name, list(arms), pairs))


def test_headline_without_pairs(findings: Findings, tmp_path: Path) -> None:
    assert numbers(headline_of(findings, [], "")) == [160]
    sentence = headline_of(findings, [], "a", "no KL")
    assert "(no KL)" in sentence and " a " in sentence and numbers(sentence) == [160, 85.0, 72.6, 97.4]
    alone = summarize(load_results(write(tmp_path / "one", a_record("a", 0, [0.3, 0.5, 0.9]))))
    sentence = headline(alone, alone.blocks[0])
    assert "grpo" in sentence and numbers(sentence) == [160, 90.0]


def test_headline_of_up_to_three_pairs_has_all_of_them(findings: Findings) -> None:
    beats = about("a", "b", "A better", 0.1, 0.05, 0.15)
    assert pair_sentence(beats, 2.0) in headline_of(findings, [beats], "ab")
    three = [about("a", "c", "undecided", 0.02, -0.01, 0.05), beats, about("b", "c", "identical", 0.0, 0.0, 0.0)]
    assert "; ".join(pair_sentences(Block("", list("abc"), three), 2.0)) in headline_of(findings, three)


def many(separated: Sequence[str], arms: str = "abcd") -> list[Pair]:
    """All pairs of the arms; "ab" in `separated` means that a is better than b."""
    pairs = []
    for a, b in itertools.combinations(arms, 2):
        kind = "A better" if a + b in separated else "B better" if b + a in separated else "undecided"
        pairs.append(about(a, b, kind, 0.1 if kind == "A better" else -0.1, -0.2, 0.2))
    return pairs


HEADLINES: list[tuple[list[str], int]] = [  # separated pairs, number of the others
    ([], 6),
    (["dc"], 5),
    (["ab", "cb", "ac"], 3),
    (["ab", "ac", "ad", "bc", "bd"], 1),
    (["ab", "ac", "ad", "bc", "bd", "cd"], 0),
]


@pytest.mark.parametrize(("separated", "others"), HEADLINES)
def test_headline_of_many_pairs(separated: list[str], others: int, findings: Findings) -> None:
    """It ranks the separated pairs and counts the others."""
    sentence = headline_of(findings, many(separated), "abcd")
    assert set(ranking(sentence.partition(": ")[2])) == {(x[0], x[1]) for x in separated}
    *_, rest = sentence.split("; ")
    if others > 1:
        assert str(others) in re.findall(r"\b\d\b", rest) and "undecided" in rest
    else:
        assert ("undecided" in rest) == (others == 1)


def a_family(seed: int) -> tuple[dict[str, np.ndarray], list[Pair]]:
    """A few arms with a few seeds, close or far apart, and all pairs of them."""
    rng = np.random.default_rng(seed)
    spread, noise = rng.choice([0.0, 0.02, 0.2]), rng.choice([0.003, 0.03])
    values = {
        arm: 0.5 + spread * rng.standard_normal() + noise * rng.standard_normal(rng.integers(2, 7))
        for arm in "uvwxyz"[: rng.integers(2, 7)]
    }
    names = list(itertools.combinations(values, 2))
    comparisons = compare_pairs([paired(*both(values, a, b)) for a, b in names])
    return values, [Pair(a, b, c, 0.5, None, None) for (a, b), c in zip(names, comparisons, strict=True)]


def both(values: dict[str, np.ndarray], a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    n = min(len(values[a]), len(values[b]))
    return values[a][:n], values[b][:n]


def ranking(sentence: str) -> Iterator[tuple[str, str]]:
    """(winner, loser) of every "u is better than v" and "u, v and w are better than x" of a headline."""
    for clause in sentence.split("; "):
        if "better than" in clause:
            winners, loser = re.split(r" (?:is|are) better than ", clause)
            for winner in re.findall(r"\b[a-du-z]\b", winners):
                yield winner, loser[0]


def test_only_separated_pairs_are_ranked(findings: Findings) -> None:
    """For random families: "better" follows the statistics, in the right direction, with the interval's numbers."""
    kinds, long = set(), 0
    for seed in range(25):
        values, pairs = a_family(seed)
        winners = {(p.a, p.b) for p in pairs if p.comparison.kind == "A better"}
        winners |= {(p.b, p.a) for p in pairs if p.comparison.kind == "B better"}
        kinds |= {p.comparison.kind for p in pairs}
        block = Block("", list(values), pairs)
        sentences, first = pair_sentences(block, 2.0), headline(findings, block)
        assert len(sentences) == len(pairs) and "-0.0" not in "".join(sentences)
        ranked = [sentence for sentence in sentences if "better" in sentence]
        assert {tuple(re.findall(r"\b[u-z]\b", sentence)[:2]) for sentence in ranked} == winners
        assert all(np.diff([x.mean() for x in both(values, a, b)]) < 0 for a, b in winners)
        for sentence in ranked:
            by, low, high = numbers(sentence)
            assert 0 <= low <= by <= high
        if len(pairs) > 3:
            long += bool(winners)
            assert set(ranking(first.partition(": ")[2])) == winners
    assert len(kinds) > 4 and long > 4, "the families test too little"


# ---------------------------------------------------------------- crossovers and the audit

CROSSOVERS: list[tuple[Crossover | None, list[float]]] = [
    (None, []),
    (Crossover(None, None, None, False), []),
    (Crossover(0.75, 0.6, 0.9, False), [120, 96, 144]),
    (Crossover(None, 0.6, 0.9, True), [96, 144]),
    (Crossover(0.75, None, None, True), [120]),
]


@pytest.mark.parametrize(("crossover", "values"), CROSSOVERS)
def test_crossovers_are_in_units_of_the_budget(
    crossover: Crossover | None, values: list[float], findings: Findings
) -> None:
    crossed = dataclasses.replace(pair(LOW, HIGH), crossover=crossover)
    assert numbers(crossover_text(findings, crossed)) == values


def test_the_audit_says_whether_it_holds() -> None:
    holds, fails = (text.audit_text(Audit("a seed 3", 0.0123, 0.5, ok), None) for ok in (True, False))
    assert "a seed 3" in holds and numbers(holds)[:2] == [1.23, 0.5]
    assert "NOT" in fails and "NOT" not in holds


def test_the_audit_names_the_largest_delay() -> None:
    audit = Audit("a seed 3", 0, 0, True)
    late, on_time = (text.audit_text(audit, Delay("b seed 1", 0.75, lag)) for lag in (0.123, 0.0004))
    assert "b seed 1" in late and {12.3, 75} <= set(numbers(late))
    assert on_time == text.audit_text(audit, None)


# ---------------------------------------------------------------- notes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(tmp_path / "s", dict.fromkeys("ab", SEEDS))


def notes_of(folder: Path, **table: Any) -> list[str]:
    if table:
        write_study(folder, {"a": {}, "b": {}}, **{"seeds": [0, 1, 2], **table})
    findings = summarize(load_results(folder))
    others = [note for note in notes(findings) if "locked" not in note and "trials are not here" not in note]
    return [*cautions(findings), *others]


def check_notes(notes: list[str], *fragments: list[str]) -> None:
    """As many notes, each with its fragments in their order."""
    assert len(notes) == len(fragments), notes
    for note, words in zip(notes, fragments, strict=True):
        assert re.search(".*".join(map(re.escape, words)), note), (note, words)


def test_nothing_to_note(folder: Path) -> None:
    assert notes_of(folder) == []


def test_missing_runs(folder: Path) -> None:
    write(folder / "a" / "seed1", unfinished("a", 1, "failed", "RuntimeError: out of cheese"))
    write(folder / "b" / "seed2", unfinished("b", 2, "interrupted", "by the user"))
    check_notes(
        notes_of(folder, seeds=[0, 1, 2, 5]),
        ["failed or collapsed", "1 of a"],
        ["a", "seed 1", "failed: RuntimeError: out of cheese", "seed 5", "not run"],
        ["b", "seed 2", "interrupted: by the user", "seed 5", "not run"],
    )


def test_missing_arms(folder: Path) -> None:
    for seed, reason in enumerate(("cheese", "wine")):
        write(folder / "c" / f"seed{seed}", unfinished("c", seed, "failed", reason))
    arms = {arm: {"algo": {"name": "grpo"}} for arm in "dabc"}
    check_notes(notes_of(folder, arms=arms), ["d", "no run"], ["c", "seed 0: failed: cheese; seed 1: failed: wine"])


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


def first_of(grid: dict[str, list[Any]]) -> Callable[[dict[str, Any]], None]:
    """Gives a record the fields of the grid's first point."""

    def take(record: dict[str, Any]) -> None:
        for name, values in grid.items():
            place, (*path, last) = record["config"], name.split(".")
            for part in path:
                place = place.setdefault(part, {})
            place[last] = values[0]

    return take


@pytest.mark.parametrize(("grid", "config", "at_the_edge"), GRIDS)
def test_tuning_at_the_edge_of_its_grid(
    grid: dict[str, list[Any]], config: dict[str, Any], at_the_edge: bool, folder: Path
) -> None:
    table = {"tune": {"grid": grid, "seeds": [100, 101]}, "report": {}}
    write_study(folder, {"a": {}, "b": {}}, **{"seeds": [0, 1, 2], **table})
    (first, *_) = load_results(folder).study.trials()
    for seed in (100, 101):
        write_trial(folder, "a", Path(first.folder).name, seed, 0.5)
        change(folder / "tune" / "a" / Path(first.folder).name / f"seed{seed}", first_of(grid))
    for seed in range(3):
        change(folder / "a" / f"seed{seed}", lambda r: r["config"].update(config))
    check_notes(notes_of(folder), *([["best trial of a", "edge"]] * at_the_edge))


def test_several_arms_at_the_edge(folder: Path) -> None:
    write_study(folder, {"a": {}, "b": {}}, seeds=[0, 1, 2], tune={"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101]})
    for arm in "ab":
        write_trial(folder, arm, "lr0.1", 100, 0.5)
        change(folder / "tune" / arm / "lr0.1" / "seed100", first_of({"lr": [0.1]}))
        for seed in range(3):
            change(folder / arm / f"seed{seed}", lambda r: r["config"].update(lr=0.1))
    check_notes(notes_of(folder), ["best trials of a and b", "edge"])


@pytest.mark.parametrize(("store", "place"), [(None, "belong in tune/"), ("first", "belong in ../first: copy")])
def test_trials_that_are_elsewhere_are_named(store: str | None, place: str, folder: Path) -> None:
    """The section stays, and says how many are missing and where they belong."""
    tune = {"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101], **({"store": store} if store else {})}
    write_study(folder, {"a": {}, "b": {}}, seeds=[0, 1, 2], tune=tune)
    home = folder.parent / store if store else folder
    for count, arm in enumerate("ab"):
        said = [f"{8 - 4 * count} of 8 trials are not here", place]
        findings = summarize(load_results(folder))
        assert any(all(word in note for word in said) for note in notes(findings)), notes(findings)
        assert all(word in tuning(findings).note for word in said)
        for trial in ("lr0.1", "lr0.2"):
            for seed in (100, 101):
                write_trial(home, arm, trial, seed, 0.5)
    assert not any("trials are not here" in note for note in notes(summarize(load_results(folder))))


def test_trials_under_another_budget(folder: Path) -> None:
    """The runs have 160 completions."""
    for limit, words in (("80", [["80 completions", "160 completions"]]), ("160", [])):
        tune = {"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101], "base": {"budget": f"completions={limit}"}}
        check_notes(notes_of(folder, tune=tune), *words)


def test_an_arm_that_was_not_tuned(folder: Path) -> None:
    arms = {"a": {"algo": "grpo"}, "b": {"algo": "grpo", "tuned_as": "a"}}
    tune = {"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101]}
    check_notes(notes_of(folder, arms=arms, tune=tune), ["b was not tuned", "a"])


DIFFERENCES: list[tuple[dict[str, Any], list[str]]] = [
    ({"commit": "f" * 40}, ["commit", "0123456789", "ffffffffff"]),
    ({"dirty": True}, ["commit", "0123456789", "0123456789 with local changes"]),
    ({"threads": 4}, ["threads", "1", "4"]),
    ({"device": "cuda:0"}, ["device", "cpu (a processor)", "cuda:0 (a processor)"]),
    ({"cpu": "another"}, ["device", "cpu (a processor)", "cpu (another)"]),
    ({"packages": {"torch": "2.8.0"}}, ["torch", "2.7.0", "2.8.0"]),
]


@pytest.mark.parametrize(("changed", "words"), DIFFERENCES)
def test_runs_of_different_environments(changed: dict[str, Any], words: list[str], folder: Path) -> None:
    change(folder / "b" / "seed1", lambda r: r["environment"].update(changed))
    check_notes(notes_of(folder), words)
