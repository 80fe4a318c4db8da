"""Tests of a study's hypotheses: differences and verdicts against numbers derived by hand."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.statistics.comparison import Comparison, Paired, compare_pairs, paired
from harness.reports.analysis.hypotheses import HypothesisResult, claim_verdict
from harness.reports.analysis.pass_at_k import overtaking_k
from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import load_results
from harness.reports.render import tables
from harness.reports.render import text as wording
from harness.reports.render.html_report import html_page
from harness.reports.report import markdown
from harness.studies.study import Study, parse
from tests.harness.record_factory import a_record, change, rows, unfinished, write, write_study
from tests.harness.studies.test_study import refused
from tests.helpers import close

T2 = 4.302652729911275  # Student's t with 2 degrees of freedom, at 0.975
H = {"id": "H1", "says": "a ends higher", "arms": ["a", "b"]}
ENDS = {"a": [0.9, 0.8, 0.85], "b": [0.6, 0.7, 0.5]}  # a - b: 0.3, 0.1, 0.35


def a_study(
    folder: Path, *hypotheses: Mapping[str, Any], ends: Mapping[str, Sequence[float]] = ENDS, **more: Any
) -> Path:
    values = {arm: {seed: [0.3, 0.5, y] for seed, y in enumerate(of)} for arm, of in ends.items()}
    return write_study(folder / "s", values, hypotheses=list(hypotheses), **more)


def results_of(folder: Path) -> list[HypothesisResult]:
    return summarize(load_results(folder)).hypotheses


def parsed(**fields: Any) -> Study:
    table: dict[str, Any] = {"arms": {"a": {}, "b": {"lr": 1e-4}}, "seeds": 3, "base": {"eval_fractions": [0, 0.5]}}
    return parse("s", {**table, "hypotheses": [{**copy.deepcopy(H), "at": 0.5, **fields}]})


# ---------------------------------------------------------------- what is fields


@pytest.mark.parametrize(
    ("fields", "fragments"),
    [
        ({"arms": ["a", "x"]}, ["hypotheses.0.arms: ", "'x'", "valid: a, b, start"]),
        ({"arms": ["a"]}, ["hypotheses.0.arms: ", "two arms"]),
        ({"arms": ["a", "a"]}, ["hypotheses.0.arms: ", "two arms"]),
        ({"arms": ["start", "a"]}, ["hypotheses.0.arms: ", "not the start"]),
        ({"expect": "gain"}, ["hypotheses.0.arms: ", "one arm with itself"]),
        ({"expect": "below"}, ["hypotheses.0.expect: ", "'below'", "gap_closes"]),
        ({"metric": "pass@"}, ["hypotheses.0.metric: ", "'pass@'", "pass@K"]),
        ({"metric": "best@4"}, ["hypotheses.0.metric: ", "'best@4'"]),
        ({"metric": "pass@0"}, ["hypotheses.0.metric: ", "'pass@0'"]),
        ({"expect": "gap_closes"}, ["hypotheses.0.metric: ", "pass@K"]),
        ({"expect": "gap_closes", "metric": "pass@1"}, ["hypotheses.0.metric: ", "K = 1"]),
        ({"at": 1.5}, ["hypotheses.0.at: ", "0..1"]),
        ({"arms": ["a"], "expect": "gain", "at": 0.5, "since": 0.5}, ["hypotheses.0.at: ", "after since"]),
        ({"arms": ["a"], "expect": "slows"}, ["hypotheses.0.at: ", "arm 'a' is not evaluated at 1 of", "0, 0.5"]),
        ({"arms": ["a"], "expect": "slows", "at": 0.5}, ["hypotheses.0.at: ", "not evaluated at 1 of"]),
        ({"at": 0.25}, ["hypotheses.0.at: ", "arm 'a' is not evaluated at 0.25 of the budget; eval_fractions: 0, 0.5"]),
        ({"speed": 1}, ["hypotheses.0.speed: ", "unknown field", "hypotheses.0.says"]),
    ],
)
def test_what_is_wrong_in_a_hypothesis(fields: dict[str, Any], fragments: list[str]) -> None:
    message = refused(lambda: parsed(**fields))
    assert message.startswith(fragments[0]) and [s for s in fragments if s not in message] == []


def test_one_test_has_one_row_and_a_claim_may_have_several() -> None:
    table: dict[str, Any] = {"arms": {"a": {}, "b": {"lr": 1e-4}}, "seeds": 3}
    assert "hypotheses.1: the same test as hypotheses.0" in refused(
        lambda: parse("s", {**table, "hypotheses": [H, {**H, "id": "H2"}]})
    )
    assert len(parse("s", {**table, "hypotheses": [H, {**H, "measure": "sorting"}]}).hypotheses) == 2


def test_the_start_is_no_arm_of_ones_own() -> None:
    assert refused(lambda: parse("s", {"arms": {"start": {}}, "seeds": 1})).startswith("arms.start: ")


# ---------------------------------------------------------------- differences


def test_above_is_a_paired_t(tmp_path: Path) -> None:
    (result,) = results_of(a_study(tmp_path, H))
    mean, sd = 0.25, math.sqrt((0.05**2 + 0.15**2 + 0.1**2) / 2)
    half = T2 * sd / math.sqrt(3)
    close(
        [result.comparison.pair.mean, result.comparison.low, result.comparison.high], [mean, mean - half, mean + half]
    )
    assert (result.task, result.verdict, result.ended, result.planned) == ("arithmetic", "undecided", 3, 3)


def test_hypotheses_are_one_family(tmp_path: Path) -> None:
    (one,) = results_of(a_study(tmp_path / "x", H))
    two, _ = results_of(a_study(tmp_path / "y", H, {**H, "measure": "sorting"}))
    assert two.comparison.p == 2 * one.comparison.p
    assert two.comparison.high - two.comparison.low > 1.3 * (one.comparison.high - one.comparison.low)


def test_gain_is_against_the_arm_itself(tmp_path: Path) -> None:
    gain = {**H, "arms": ["a"], "expect": "gain"}
    whole, half = results_of(a_study(tmp_path, gain, {**gain, "since": 0.5}))
    close([whole.comparison.pair.mean, half.comparison.pair.mean], [0.55, 0.35])
    close([whole.comparison.pair.sd, half.comparison.pair.sd], [0.05, 0.05])
    assert whole.verdict == half.verdict == "supported"


def test_slows_is_the_first_gain_against_the_second(tmp_path: Path) -> None:
    # from 0.3 to 0.5 it gains 0.2; from present to 0.9, 0.8 and 0.85 another 0.4, 0.3 and 0.35
    (result,) = results_of(a_study(tmp_path, {**H, "arms": ["a"], "expect": "slows", "at": 0.5}))
    close(result.comparison.pair.mean, 0.2 - 0.35)
    close(result.comparison.pair.sd, 0.05)
    assert result.verdict == "contradicted"


def test_the_start_is_the_arms_own_run_at_its_beginning(tmp_path: Path) -> None:
    above = {**H, "arms": ["a", "start"], "measure": "sorting", "at": 0.5}
    path = a_study(tmp_path, above)
    write(path / "a" / "seed0", a_record("a", 0, [0.3, 0.5, 0.9], others={"sorting": [0.9, 0.6, 0.1]}))
    (result,) = results_of(path)
    close(result.comparison.pair.mean, (-0.3 + 0.2 + 0.2) / 3)


def sampled(path: Path, arm: str, seed: int, **curves: Sequence[float]) -> None:
    """pass@1 and pass@4 at the start and the end."""

    def add(record: dict[str, Any]) -> None:
        for at in (0.0, 1.0):
            (row, *_) = rows("arithmetic_x8", at, 0.5, kept=False)
            record["evals"] += [
                {**row, "metric": metric.replace("_", "@"), "value": curve[int(at)]} for metric, curve in curves.items()
            ]

    change(path / arm / f"seed{seed}", add)


@pytest.fixture
def fig7(tmp_path: Path) -> Path:
    """a sharpens, and is overtaken at 4 samples; b is ahead of the start at every K."""
    closes = {"id": "H5", "says": "RL sharpens", "arms": ["a", "start"], "expect": "gap_closes", "metric": "pass@4"}
    path = a_study(tmp_path, closes, {**closes, "arms": ["b", "start"]})
    for seed, y in enumerate((0.8, 0.7, 0.75)):
        sampled(path, "a", seed, pass_1=[0.3, y], pass_4=[0.85, 0.84], maj_1=[0.3, y], maj_4=[0.4, 0.8])
        sampled(
            path, "b", seed, pass_1=[0.3, 0.4 + seed / 100], pass_4=[0.85, y + 0.2], maj_1=[0.3, 0.4], maj_4=[0.4, 0.5]
        )
    return path


def test_a_gap_that_closes_is_a_difference_of_differences(fig7: Path) -> None:
    a, b = results_of(fig7)
    close(a.comparison.pair.mean, (0.75 - 0.3) - (0.84 - 0.85))
    close(b.comparison.pair.mean, (0.41 - 0.3) - (0.95 - 0.85))
    assert (a.task, a.verdict, b.verdict) == ("arithmetic_x8", "supported", "undecided")


def test_where_the_start_model_overtakes(fig7: Path) -> None:
    findings = summarize(load_results(fig7))
    x = {(x.kind, x.k): x for x in findings.at_k}
    assert list(x) == [("pass", 1), ("pass", 4), ("maj", 1), ("maj", 4)]
    close([x["pass", 4].start, x["pass", 1].mean["a"], x["pass", 1].gain["a"][0]], [0.85, 0.75, 0.45])
    half = T2 * 0.05 / math.sqrt(3)
    close(x["pass", 1].gain["a"][1], (0.45 - half, 0.45 + half))
    curves = (("pass", "a"), ("pass", "b"), ("maj", "a"))
    assert [overtaking_k(findings.at_k, "arithmetic_x8", *curve) for curve in curves] == [4, None, None]
    table = tables.at_k(findings)
    assert table.columns == ["metric", "start", "a", "b"]
    assert table.rows[0][:3] == ["pass@1", "30.0", "75.0 (+45.0 [32.6, 57.4])"]
    reached, below = table.note.split("  ")[-2:]
    assert re.findall(r"\b\w+@\w+", reached) == ["pass@4"] and " a " in reached
    assert re.findall(r"\b([ab]) in (\w+@K)", below) == [("b", "pass@K"), ("a", "maj@K"), ("b", "maj@K")]


def test_a_tie_counts_as_overtaken(tmp_path: Path) -> None:
    path = a_study(tmp_path)
    for seed in range(3):
        for arm in "ab":
            sampled(path, arm, seed, pass_1=[0.3, 0.3])
    assert overtaking_k(summarize(load_results(path)).at_k, "arithmetic_x8", "pass", "a") == 1


# ---------------------------------------------------------------- verdicts

VERDICTS = {  # (expect, low, high) -> verdict, with a margin of 2 points
    ("above", 0.01, 0.09): "supported",
    ("above", 0.001, 0.015): "supported, within the margin",
    ("above", -0.09, -0.021): "contradicted",
    ("above", -0.09, -0.01): "undecided",  # below 0, and perhaps by less than matters
    ("above", -0.019, 0.019): "undecided, within the margin",
    ("above", -0.02, 0.02): "undecided",
    ("above", 0.0, 0.0): "undecided, within the margin",
    ("above", math.nan, math.nan): "undecided",
    ("gain", 0.01, 0.09): "supported",
    ("gap_closes", -0.09, -0.03): "contradicted",
    ("alike", -0.019, 0.019): "supported",
    ("alike", 0.001, 0.015): "supported",  # separated from 0, and within the margin
    ("alike", 0.01, 0.09): "undecided",  # separated from 0 is no contradiction: d may be 0.015
    ("alike", 0.021, 0.09): "contradicted",
    ("alike", -0.09, -0.021): "contradicted",
    ("alike", -0.0200104, -0.001): "undecided",
    ("alike", -0.02, 0.01): "undecided",
    ("alike", 0.0, 0.0): "supported",
    ("alike", math.nan, math.nan): "undecided",
    ("not_above", -0.3, -0.1): "supported",
    ("not_above", -0.3, 0.019): "supported",
    ("not_above", 0.001, 0.019): "supported",
    ("not_above", 0.001, 0.02): "undecided",
    ("not_above", 0.021, 0.03): "contradicted",
    ("not_above", -0.3, 0.02): "undecided",
    ("not_above", math.nan, math.nan): "undecided",
    ("not_below", 0.1, 0.3): "supported",
    ("not_below", -0.019, 0.3): "supported",
    ("not_below", -0.02, -0.001): "undecided",
    ("not_below", -0.3, -0.021): "contradicted",
    ("not_below", -0.02, 0.3): "undecided",
    ("not_below", math.nan, math.nan): "undecided",
}


@pytest.mark.parametrize("case", VERDICTS, ids=str)
def test_verdicts(case: tuple[str, float, float]) -> None:
    expect, low, high = case
    comparison = Comparison("undecided", Paired(5, 0.0, 0.1, 0.05, 4, 0.0), 0.5, low, high, 0.95)
    assert claim_verdict(expect, comparison, 0.02) == VERDICTS[case]


@pytest.mark.parametrize("d", [0.0, 0.01, 0.015])
@pytest.mark.parametrize("expect", ["alike", "not_above", "not_below"])
def test_a_true_claim_of_likeness_is_hardly_ever_contradicted(expect: str, d: float) -> None:
    """Differences within the margin of 2 points, five seeds, an SD of 1 point.  Where a difference that is separated
    from 0 and not within the margin was a refutation, arms 1 and 1.5 points apart were refuted in a quarter and
    in six tenths of such studies."""
    generator, trials, refuted, apart = np.random.default_rng(3), 400, 0, 0
    for _ in range(trials):
        (comparison,) = compare_pairs([paired(d + 0.01 * generator.standard_normal(5), np.zeros(5))])
        refuted += claim_verdict(expect, comparison, 0.02) == "contradicted"
        apart += comparison.kind in ("A better", "B better")
    assert refuted <= 0.05 * trials
    assert abs(apart / trials - {0.0: 0.006, 0.01: 0.255, 0.015: 0.623}[d]) < 0.08


EXPECTED: list[tuple[dict[str, Any], list[str]]] = [  # fields of a hypothesis, what its sentence names in this order
    ({}, ["a", "higher", "b", "`arithmetic`", "at the end"]),
    ({"expect": "alike"}, ["a", "b", "equivalent", "`arithmetic`"]),
    ({"expect": "not_above", "measure": "sorting"}, ["a", "not higher", "b", "`sorting`"]),
    ({"expect": "not_below", "at": 0.5}, ["a", "not lower", "b", "at 50 %"]),
    ({"arms": ["a", "start"]}, ["a", "higher", "the start"]),
    ({"arms": ["a"], "expect": "gain", "since": 0.5}, ["a", "higher", "at the end", "50 %"]),
    ({"arms": ["a"], "expect": "slows", "at": 0.5}, ["a", "the start", "50 %", "larger"]),
]


@pytest.mark.parametrize(("fields", "names"), EXPECTED)
def test_the_text_of_a_comparison_names_its_sides(fields: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    (result,) = results_of(a_study(tmp_path, {**H, **fields}))
    text = wording.comparison_text(result)
    assert re.search(".*".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names), text), text


def test_no_verdict_before_every_planned_seed_has_ended(tmp_path: Path) -> None:
    """The difference is shown, the verdict is not; a failed run counts as ended."""
    gain = {**H, "arms": ["a"], "expect": "gain"}
    path = a_study(tmp_path, gain, seeds=[0, 1, 2, 3])
    (result,) = results_of(path)
    assert (result.verdict, result.comparison.pair.n) == ("not yet run: 3 of 4 seeds", 3)
    write(path / "a" / "seed3", unfinished("a", 3, "interrupted"))
    assert results_of(path)[0].verdict == "not yet run: 3 of 4 seeds"
    write(path / "a" / "seed3", unfinished("a", 3, "failed", "RuntimeError: no"))
    assert results_of(path)[0].verdict == "supported; a run of 1 of 4 seeds failed"


def test_an_arm_without_a_run(tmp_path: Path) -> None:
    (result,) = results_of(a_study(tmp_path, H, ends={**ENDS, "b": []}))
    assert (result.verdict, result.comparison.pair.n) == ("not yet run: 0 of 3 seeds", 0)
    sentence = wording.hypothesis_sentence(result)
    assert sentence.startswith("**H1 not yet run: 0 of 3 seeds**: ") and "[" not in sentence


def test_a_set_that_the_records_lack_is_said_in_its_row(tmp_path: Path) -> None:
    """A scale profile may change the task: hypotheses about other sets cannot be tested, the others can."""
    lacking, present, k = results_of(a_study(tmp_path, {**H, "measure": "chess"}, H, {**H, "metric": "pass@4"}))
    assert lacking.verdict.startswith("not measured: no set 'chess' with exact_match here; valid: arithmetic, ")
    assert k.verdict == "not measured: no set 'in' with pass@4 here; valid: none"
    assert present.comparison.pair.n == 3


# ---------------------------------------------------------------- what is shown


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    fields = {**H, "says": "a < b & c", "settle": "more seeds", "note": "after the fact", "source": "2402.03300 §5"}
    return summarize(
        load_results(a_study(tmp_path, {**fields, "arms": ["a"], "expect": "gain"}, {**fields, "expect": "alike"}))
    )


def test_one_row_per_hypothesis(findings: Findings) -> None:
    table = tables.hypotheses(findings)
    assert [row[2] for row in table.rows] == [wording.comparison_text(result) for result in findings.hypotheses]
    assert table.rows[0][:2] == ["H1", "a < b & c"] and table.rows[0][-2:] == ["supported", "more seeds"]
    assert table.rows[0][3] == "+55.0" and table.rows[0][5] == "3 seeds"
    assert table.note.count("H1: after the fact") == table.note.count("2402.03300 §5") == 1


def test_the_verdict_is_near_the_top(findings: Findings) -> None:
    text, html = markdown(findings, []), html_page(findings, {})
    places = [text.index(x) for x in ("**At 160 completions", "- **H1 supported**: ", "## Hypotheses", "## Accuracy")]
    assert places == sorted(places) and "(+55.0 [" in text[: places[2]]
    assert html.index("<strong>H1 supported</strong>") < html.index('id="hypotheses"') < html.index('id="accuracy"')
    assert "a &lt; b &amp; c" in html


def test_a_study_without_hypotheses_has_no_section_for_them(tmp_path: Path) -> None:
    findings = summarize(load_results(a_study(tmp_path)))
    assert "Hypotheses" not in markdown(findings, []) and "ypotheses" not in html_page(findings, {})
