"""The findings of a study, against numbers derived by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.statistics.comparison import crossed
from harness.accounting.budget import UNITS
from harness.reports.analysis.summary import COLLAPSE, Findings, Pair, Trial, summarize
from harness.reports.loading import load_results
from tests.harness.record_factory import SPEND, a_record, change, unfinished, write, write_study, write_trial
from tests.helpers import close

T2 = 4.302652729911275  # Student's t with 2 degrees of freedom, at 0.975
VALUES = {
    "a": {0: [0.3, 0.5, 0.9], 1: [0.3, 0.5, 0.8], 2: [0.3, 0.5, 0.85]},
    "b": {0: [0.3, 0.4, 0.6], 1: [0.3, 0.4, 0.7], 2: [0.3, 0.4, 0.5]},
    "c": {0: [0.3, 0.3, 0.3], 1: [0.3, 0.3, 0.31], 2: [0.3, 0.3, 0.32]},
}
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A study of some of the arms above, or of curves that are given."""

    def make(arms: str | Mapping[str, Mapping[int, Sequence[float]]] = "ab", **table: Any) -> Path:
        values = {arm: VALUES[arm] for arm in arms} if isinstance(arms, str) else arms
        fractions = table.pop("fractions", (0.0, 0.5, 1.0))
        return write_study(tmp_path / "s", values, fractions, **table)

    return make


def findings_of(folder: Path) -> Findings:
    return summarize(load_results(folder))


def pair_of(findings: Findings, a: str, b: str, block: int = 0) -> Pair:
    (pair,) = (p for p in findings.blocks[block].pairs if (p.a, p.b) == (a, b))
    return pair


def p_of_t(mean: float, variance: float) -> float:
    """Two-sided, with 2 degrees of freedom, where Student's t has a closed form: 1 - |t| / sqrt(2 + t^2)."""
    t2 = mean**2 / (variance / 3)
    return 1 - math.sqrt(t2 / (2 + t2))


# ---------------------------------------------------------------- arms


def test_mean_spread_and_interval(folder: Folder) -> None:
    arm = findings_of(folder()).arms["a"]
    close([arm.mean, arm.sd, arm.iqm], [0.85, 0.05, 0.85])
    half = T2 * 0.05 / math.sqrt(3)
    close(arm.interval, [0.85 - half, 0.85 + half])
    assert arm.finished == 3 and [(s.seed, s.value, s.status) for s in arm.seeds] == [
        (0, 0.9, "finished"), (1, 0.8, "finished"), (2, 0.85, "finished"),
    ]  # fmt: skip


def test_curves_of_every_set(folder: Folder) -> None:
    curves = findings_of(folder()).arms["b"].curves
    assert list(curves) == ["arithmetic", "arithmetic_t1", "arithmetic_longer", "sorting"]
    for curve in curves.values():
        close(curve.mean_F, [0.3, 0.4, 0.6])
        close(
            curve.interval_F, [(0.3, 0.3), (0.4, 0.4), (0.6 - T2 * 0.1 / math.sqrt(3), 0.6 + T2 * 0.1 / math.sqrt(3))]
        )


def test_few_seeds_have_no_interval(folder: Folder) -> None:
    findings = findings_of(folder({"a": {0: [0.3, 0.5, 0.9], 1: [0.3, 0.5, 0.8]}, "b": {0: [0.3, 0.4, 0.6]}}))
    assert (findings.arms["a"].interval, findings.arms["b"].interval, findings.arms["b"].sd) == (None, None, None)
    close([findings.arms["a"].mean, findings.arms["a"].sd], [0.85, math.sqrt(0.005)])
    assert findings.arms["a"].curves["sorting"].interval_F == [None] * 3
    assert (pair_of(findings, "a", "b").comparison.kind, pair_of(findings, "a", "b").seeds_alone) == (
        "no interval",
        None,
    )


def test_the_interquartile_mean_leaves_out_the_ends(folder: Folder) -> None:
    ends = {seed: [0.3, y] for seed, y in enumerate((0.9, 0.1, 0.4, 0.6))}
    close(findings_of(folder({"a": ends}, fractions=(0, 1))).arms["a"].iqm, 0.5)


def test_the_endpoint_may_be_another_set(folder: Folder) -> None:
    path = folder(report={"endpoint": "sorting"})
    write(path / "a" / "seed0", a_record("a", 0, [0.3, 0.5, 0.9], others={"sorting": [0.3, 0.2, 0.1]}))
    findings = findings_of(path)
    assert findings.endpoint.name == "sorting" and findings.arms["a"].seeds[0].value == 0.1
    close(findings.arms["a"].mean, (0.1 + 0.8 + 0.85) / 3)


def test_the_start_is_one_model(folder: Folder) -> None:
    """Its greedy accuracy is the same in every run; what it samples differs."""
    path = folder()
    write(path / "a" / "seed0", a_record("a", 0, [0.3, 0.5, 0.9], others={"arithmetic_t1": [0.24, 0.5, 0.9]}))
    start = findings_of(path).start
    close([start["arithmetic"], start["arithmetic_t1"]], [0.3, (0.24 + 5 * 0.3) / 6])
    assert findings_of(folder({"a": {0: [0.5, 0.9]}}, fractions=(0.5, 1))).start == {}


def test_what_was_spent(folder: Folder) -> None:
    path = folder()

    def dearer(record: dict[str, Any]) -> None:
        for row in record["evals"]:
            row["spend"] = {unit: 4 * x for unit, x in row["spend"].items()}

    change(path / "a" / "seed0", dearer)
    spends = findings_of(path).arms["a"].spend_F
    assert list(spends) == list(UNITS)
    for unit, spend_F in spends.items():
        close(spend_F, [0.0, SPEND[unit], 2 * SPEND[unit]])  # (4 + 1 + 1) / 3 of the half, of the whole


def test_seconds_and_memory(folder: Folder) -> None:
    path = folder()

    def larger(record: dict[str, Any]) -> None:
        record["phases"]["update"]["seconds"] = 38.0
        record["memory"] = {"peak_bytes": 2**22, "parts": {"policy": {"bytes": 2**21}, "critic": {"bytes": 2**19}}}

    change(path / "a" / "seed1", larger)
    arm = findings_of(path).arms["a"]
    close([arm.seconds[p] for p in ("rollout", "update", "eval")], [12, 18, 4])
    close([arm.peak_bytes, arm.memory["policy"]], [(2 * 2**21 + 2**22) / 3, (2 * 2**19 + 2**21) / 3])
    close(arm.memory["critic"], 2**19 / 3)


ROUNDS: list[tuple[list[list[float | None]], float | None]] = [
    ([[0.25, 0.75], [0.0]], 1 / 3),
    ([[0.5, None], []], 0.5),
    ([[None], []], None),
]


@pytest.mark.parametrize(("rounds", "expected"), ROUNDS)
def test_zero_variance_groups_over_all_rounds(
    rounds: list[list[float | None]], expected: float | None, folder: Folder
) -> None:
    path = folder("a")
    for seed in range(3):
        shares = rounds[seed] if seed < len(rounds) else []
        lines = [{} if x is None else {"frac_reward_zero_std": x} for x in shares]
        write(path / "a" / f"seed{seed}", a_record("a", seed, VALUES["a"][seed]), rounds=lines)
    zero_variance = findings_of(path).arms["a"].zero_variance
    assert (zero_variance is None) == (expected is None)
    if zero_variance is not None:
        close(zero_variance, expected)


def test_groups_of_one_are_not_zero_variance_groups(folder: Folder) -> None:
    """The fraction is None, not 1."""
    path = folder()
    for seed in range(3):
        change(path / "b" / f"seed{seed}", lambda r: r["config"].update(group_size=1))
    assert [arm.zero_variance for arm in findings_of(path).arms.values()] == [0.25, None]


REACHED = [
    (0.7, 160 * (0.5 + 0.5 * 0.2 / 0.35)),  # on the way from 0.5 to 0.85, the median of three
    (0.5, 80.0),
    (0.25, 0.0),
    (0.84, 160 * (0.5 + 0.5 * 0.34 / 0.35)),
    (0.86, math.inf),  # one of three came that far
]


@pytest.mark.parametrize(("level", "expected"), REACHED)
def test_what_a_level_costs(level: float, expected: float, folder: Folder) -> None:
    close(findings_of(folder(report={"level": level})).arms["a"].budget_to_level, expected)


def collapse(folder: Path, *runs: tuple[float, float] | None) -> Findings:
    """Accuracies at temperature 1, (start, end) for each seed; None: the run failed."""
    for seed, ends in enumerate(runs):
        if ends is None:
            write(folder / "a" / f"seed{seed}", unfinished("a", seed, "failed", "RuntimeError: nan"))
        else:
            others = {"arithmetic_t1": [ends[0], 0.0, ends[1]]}
            write(folder / "a" / f"seed{seed}", a_record("a", seed, [0.3, 0.5, 0.9], others=others))
    return findings_of(folder)


@pytest.mark.parametrize(("points", "collapsed"), [(9, 0), (10, 0), (11, 7)])
def test_more_than_ten_points_below_the_start_are_a_collapse(points: int, collapsed: int, folder: Folder) -> None:
    """Ten are not, at any start: some of these differences are not 0.10 to the last bit."""
    starts = (14, 28, 40, 53, 60, 80, 93)
    path = folder({"a": {seed: [0.3, 0.9] for seed in range(len(starts))}}, fractions=(0, 1))
    for seed, start in enumerate(starts):
        others = {"arithmetic_t1": [start / 100, (start - points) / 100]}
        write(path / "a" / f"seed{seed}", a_record("a", seed, [0.3, 0.9], (0, 1), others=others))
    assert findings_of(path).arms["a"].collapsed == collapsed


def test_collapsed_and_failed_are_counted_together(folder: Folder) -> None:
    arm = collapse(
        folder({"a": {0: [0.3, 0.5, 0.9]}}, seeds=[0, 1, 2, 3, 7]), (0.6, 0.1), None, (0.5, 0.9), (0.5, 0.41)
    ).arms["a"]
    assert (arm.collapsed, arm.finished) == (2, 3) and COLLAPSE == 0.10
    # Clopper and Pearson for 2 of 4: P(X >= 2; low) = P(X <= 2; high) = 0.025
    low, high = arm.collapse_interval
    close(6 * low**2 * (1 - low) ** 2 + 4 * low**3 * (1 - low) + low**4, 0.025)
    close(low + high, 1.0)
    assert [(s.seed, s.value, s.status) for s in arm.seeds if s.value is None] == [
        (1, None, "failed: RuntimeError: nan"),
        (7, None, "not run"),
    ]


def test_greedy_accuracy_is_no_collapse(folder: Folder) -> None:
    """Nor is another domain's."""
    path = folder({"a": {0: [0.9, 0.5, 0.1]}})
    others = {"arithmetic_t1": [0.5, 0.5, 0.5]}
    write(path / "a" / "seed0", a_record("a", 0, [0.9, 0.5, 0.1], others=others))
    assert findings_of(path).arms["a"].collapsed == 0


def test_an_arm_without_a_finished_run(folder: Folder) -> None:
    path = folder("abc")
    for seed in range(3):
        write(path / "b" / f"seed{seed}", unfinished("b", seed, "failed"))
    findings = findings_of(path)
    assert list(findings.arms) == findings.blocks[0].arms == ["a", "c"]
    assert [(p.a, p.b) for p in findings.blocks[0].pairs] == [("a", "c")]


def test_a_record_without_a_set_at_the_end_is_named(folder: Folder) -> None:
    path = folder()

    def forget(record: dict[str, Any]) -> None:
        record["evals"] = [r for r in record["evals"] if (r["task"], r["fraction"]) != ("arithmetic_t1", 1.0)]

    change(path / "b" / "seed1", forget)
    with pytest.raises(ValueError, match=f"^{path}/b/seed1/record.json: no arithmetic_t1 strict exact_match"):
        findings_of(path)


# ---------------------------------------------------------------- pairs


def test_a_pair_by_hand(folder: Folder) -> None:
    """Differences 0.3, 0.1 and 0.35: mean 0.25, variance 0.0175."""
    pair = pair_of(findings_of(folder()), "a", "b")
    v, half = pair.comparison, T2 * math.sqrt(0.0175 / 3)
    close([v.pair.mean, v.pair.sd, v.pair.p, v.p], [0.25, math.sqrt(0.0175), *[p_of_t(0.25, 0.0175)] * 2])
    close([v.low, v.high], [0.25 - half, 0.25 + half])
    close(v.pair.correlation, -0.5)
    assert (v.kind, v.pair.n, pair.improvement) == ("undecided", 3, 1.0)


def test_all_pairs_of_a_block_are_corrected_together(folder: Folder) -> None:
    findings = findings_of(folder("abc"))
    assert [(p.a, p.b) for p in findings.blocks[0].pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    # differences a - c: 0.6, 0.49, 0.53; b - c: 0.3, 0.39, 0.18
    raw = [p_of_t(0.25, 0.0175), p_of_t(0.54, 0.0031), p_of_t(0.29, 0.0111)]
    # a - c is beyond the margin of 2 points at 0.05 / 3, and leaves the family; the others are not, at 0.05 / 2
    assert raw[1] < 0.05 / 3 < raw[2] < raw[0]
    close([p.comparison.p for p in findings.blocks[0].pairs], [2 * p for p in raw])
    assert {p.comparison.family for p in findings.blocks[0].pairs} == {3}
    assert [p.comparison.kind for p in findings.blocks[0].pairs] == ["undecided", "A better", "undecided"]


def test_all_blocks_are_one_family(folder: Folder) -> None:
    """What is said of a pair does not depend on the table that it stands in."""
    findings = findings_of(folder("abc", report={"blocks": {"first": ["c", "a"], "second": ["a", "b"]}}))
    assert [(b.name, b.arms) for b in findings.blocks] == [("first", ["c", "a"]), ("second", ["a", "b"])]
    first, second = pair_of(findings, "c", "a"), pair_of(findings, "a", "b", 1)
    assert first.comparison.family == second.comparison.family == 2
    close(first.comparison.p, p_of_t(0.54, 0.0031))  # settled, so that one is left
    close(second.comparison.p, p_of_t(0.25, 0.0175))
    assert (first.comparison.kind, second.comparison.kind) == ("B better", "undecided")
    assert first.improvement == 0.0 and first.comparison.pair.mean < 0


def test_a_declared_family_is_all_that_is_compared(folder: Folder) -> None:
    findings = findings_of(folder("abc", report={"family": [["c", "a"], ["b", "c"]]}))
    assert [(p.a, p.b) for p in findings.blocks[0].pairs] == [("c", "a"), ("b", "c")]
    close([p.comparison.p for p in findings.blocks[0].pairs], [p_of_t(0.54, 0.0031), p_of_t(0.29, 0.0111)])


def test_a_failed_seed_leaves_a_pair_with_fewer(folder: Folder) -> None:
    values = {arm: {**of, 3: of[0], 4: of[1]} for arm, of in VALUES.items() if arm != "c"}
    values["c"] = {1: VALUES["c"][1]}  # that it lacks most seeds is nothing to a and b
    path = folder(values)
    write(path / "a" / "seed0", unfinished("a", 0, "failed"))
    write(path / "b" / "seed4", unfinished("b", 4, "interrupted"))
    pair = pair_of(findings_of(path), "a", "b")  # at seeds 1, 2 and 3
    assert pair.comparison.pair.n == 3
    close(pair.comparison.pair.mean, (0.1 + 0.35 + 0.3) / 3)
    assert pair.improvement == 1.0


def test_arms_that_share_no_seed(folder: Folder) -> None:
    findings = findings_of(folder({"a": VALUES["a"], "b": {k + 5: v for k, v in VALUES["b"].items()}}))
    pair = pair_of(findings, "a", "b")
    assert (pair.comparison.kind, pair.comparison.pair.why, pair.crossover) == (
        "no interval",
        "0 seeds; at least 3 needed",
        None,
    )
    assert pair.improvement == 1.0, "that needs no pairs"


def test_the_margin_is_the_studys(folder: Folder) -> None:
    values = {"a": VALUES["a"], "b": {s: [0.3, 0.5, y] for s, y in enumerate((0.89, 0.8, 0.85))}}
    kinds = {}
    for margin in (1, 2):
        kinds[margin] = pair_of(findings_of(folder(values, report={"margin": margin})), "a", "b").comparison.kind
    assert kinds == {1: "undecided", 2: "equivalent"}  # the interval ends at 1.8 points


def test_the_same_runs_are_identical(folder: Folder) -> None:
    pair = pair_of(findings_of(folder({"a": VALUES["a"], "b": VALUES["a"]})), "a", "b")
    assert (pair.comparison.kind, pair.improvement, pair.seeds_alone) == ("identical", 0.5, (0.0, 0.0))


def test_improvement_counts_all_runs_and_halves_ties(folder: Folder) -> None:
    values = {
        "a": {s: [0.3, y] for s, y in enumerate((0.5, 0.6))},
        "b": {s: [0.3, y] for s, y in enumerate((0.5, 0.4, 0.9))},
    }
    close(pair_of(findings_of(folder(values, fractions=(0, 1))), "a", "b").improvement, 3.5 / 6)


def test_seeds_and_problems(folder: Folder, sampled_problems: None) -> None:
    """Of 100 problems A solves the first 90, 80 and 85, and B the first 60, 70 and 50: the differences are blocks of
    ones, and the standard error is that of the two-way table."""
    pair = pair_of(findings_of(folder()), "a", "b")
    d_SI = np.array([[float(low <= i < high) for i in range(100)] for low, high in ((60, 90), (70, 80), (50, 85))])
    expected = crossed(d_SI, np.zeros_like(d_SI))
    close([pair.comparison.pair.mean, pair.comparison.pair.stderr, pair.comparison.pair.df],
          [0.25, expected.stderr, expected.df])  # fmt: skip
    assert (pair.comparison.pair.scope, pair.comparison.pair.problems) == ("seeds and problems", 100)
    assert pair.seeds_alone is not None and pair.comparison.pair.stderr > math.sqrt(0.0175 / 3) * 0.9


def test_a_benchmark_is_all_that_is_meant(folder: Folder, sampled_problems: None) -> None:
    pair = pair_of(findings_of(folder(report={"problems": "fixed"})), "a", "b")
    assert pair.comparison.pair.scope == "seeds"
    close([pair.comparison.low, pair.comparison.high], list(pair.seeds_alone or ()))


def forget_outcomes(path: Path) -> None:
    change(path, lambda r: [row.update(outcomes="") for row in r["evals"]])


@pytest.mark.parametrize("without", ["ab", "b"])
def test_outcomes_that_nobody_kept(without: str, folder: Folder, sampled_problems: None) -> None:
    path = folder()
    for arm in without:
        for seed in range(3):
            forget_outcomes(path / arm / f"seed{seed}")
    assert pair_of(findings_of(path), "a", "b").comparison.pair.scope == "seeds"


def test_outcomes_that_one_seed_did_not_keep(folder: Folder, sampled_problems: None) -> None:
    path = folder()
    forget_outcomes(path / "b" / "seed1")
    assert pair_of(findings_of(path), "a", "b").comparison.pair.scope == "seeds"


def test_where_two_curves_cross(folder: Folder) -> None:
    values = {"a": {s: [0.3, 0.6, 0.5] for s in range(3)}, "b": {s: [0.3, 0.4, 0.7] for s in range(3)}}
    where = pair_of(findings_of(folder(values)), "a", "b").crossover
    assert where is not None and not where.ends_open
    close([where.at, where.low, where.high], [0.75] * 3)
    never = pair_of(findings_of(folder()), "a", "b").crossover
    assert never is not None and (never.at, never.low is not None, never.ends_open) == (None, True, True)
    short = {arm: {s: y[1:] for s, y in of.items()} for arm, of in values.items()}
    again = pair_of(findings_of(folder(short, fractions=(0.5, 1))), "a", "b").crossover
    assert again is not None and again.at == where.at  # the start is left out, whether it was evaluated or not
    end = {arm: {s: y[2:] for s, y in of.items()} for arm, of in values.items()}
    assert pair_of(findings_of(folder(end, fractions=(1,))), "a", "b").crossover is None


def test_points_that_fell_late_are_read_at_the_budget(folder: Folder) -> None:
    """a rises by straight lines 0.2, 0.4, 0.6 over budgets of 0, 0.6 and 1: at a half it has 0.2 + 0.2 x 5/6.  b's
    point falls where it should."""
    values = {"a": {s: [0.2, 0.4, 0.6] for s in range(3)}, "b": {s: [0.2, 0.38, 0.5] for s in range(3)}}

    def later(record: dict[str, Any]) -> None:
        for row in record["evals"]:
            if row["fraction"] == 0.5:
                row["spend"] = {unit: 1.2 * x for unit, x in row["spend"].items()}

    path = folder(values)
    for s in range(3):
        change(path / "a" / f"seed{s}", later)
    f = findings_of(path)
    close(f.arms["a"].matched.mean_F, [0.2, 0.2 + 0.2 * 5 / 6, 0.6])
    close(f.arms["a"].curves["arithmetic"].mean_F, [0.2, 0.4, 0.6])  # as it was measured
    close(f.arms["b"].matched.mean_F, [0.2, 0.38, 0.5])
    assert f.delay is not None and f.delay.run.startswith("a seed") and f.delay.fraction == 0.5
    close(f.delay.lag, 0.1)
    # b is 0.38 - 0.3667 ahead at a half and 0.1 behind at the end: as measured, a would have led throughout
    where, gap = pair_of(f, "a", "b").crossover, 0.38 - (0.2 + 0.2 * 5 / 6)
    assert where is not None
    close(where.at, 0.5 + 0.5 * gap / (gap + 0.1))


def test_the_same_records_say_the_same(folder: Folder) -> None:
    path = folder("abc")
    one, other = findings_of(path), findings_of(path)
    assert (one.arms, one.blocks, one.audit) == (other.arms, other.blocks, other.audit)


# ---------------------------------------------------------------- the audit

AUDITS = [
    # (completions, prompts) of runs at a limit of 160 -> the share shown, in groups, and whether it holds
    ([(160, 40)], (0.0, 0.0, True)),
    ([(156, 39)], (0.025, 1.0, True)),  # one group of 4
    ([(155, 31)], (5 / 160, 1.0, True)),  # one group of 5
    ([(155, 155)], (5 / 160, 5.0, False)),
    ([(158.5, 158.5)], (1.5 / 160, 1.5, True)),  # within 1 %
    ([(158, 158)], (2 / 160, 2.0, False)),
    ([(165, 33)], (5 / 160, 1.0, True)),  # over it, by one group
    ([(170, 34)], (10 / 160, 2.0, False)),
    ([(156, 39), (159, 159), (160, 40)], (0.025, 1.0, True)),  # the largest
    ([(156, 39), (158, 158), (160, 40)], (2 / 160, 2.0, False)),  # but first of all what does not hold
]


@pytest.mark.parametrize(("spends", "expected"), AUDITS)
def test_the_largest_mismatch(
    spends: list[tuple[float, float]], expected: tuple[float, float, bool], folder: Folder
) -> None:
    path = folder({"a": {seed: [0.3, 0.9] for seed in range(len(spends))}}, fractions=(0, 1))
    for seed, (completions, prompts) in enumerate(spends):
        spent = {"completions": completions, "prompts": prompts}
        change(path / "a" / f"seed{seed}", lambda r, spent=spent: r["spend"].update(spent))
    audit = findings_of(path).audit
    close([audit.mismatch, audit.groups], expected[:2])
    assert audit.holds == expected[2]


def test_the_audit_names_a_finished_run(folder: Folder) -> None:
    path = folder()
    change(path / "b" / "seed2", lambda r: r["spend"].update(completions=100))
    write(path / "a" / "seed1", unfinished("a", 1, "failed"))
    assert findings_of(path).audit.run == "b seed 2"


# ---------------------------------------------------------------- trials


def test_trials_and_the_chosen_one(folder: Folder) -> None:
    grid = {"lr": [1e-4, 2e-4, 4e-4], "algo.kl_coef": [0.5]}
    path = folder(tune={"grid": grid, "seeds": [100, 101]})
    for trial, values in {"lr0.0001": (0.3, 0.6), "lr0.0002": (0.45, 0.45), "lr0.0004": (0.9,)}.items():
        for seed, value in zip((100, 101), values, strict=False):
            write_trial(path, "a", f"{trial}-kl_coef0.5", seed, value)
    write_trial(path, "b", "lr0.0001-kl_coef0.5", 100, 0.5, status="failed")
    for seed in range(3):
        change(path / "a" / f"seed{seed}", lambda r: r["config"].update(lr=1e-4, algo={"kl_coef": 0.5}))
    findings = findings_of(path)
    assert findings.trials == {
        "a": [
            Trial("lr0.0001-kl_coef0.5", [0.3, 0.6], True),  # the first of equals
            Trial("lr0.0002-kl_coef0.5", [0.45, 0.45], False),
            Trial("lr0.0004-kl_coef0.5", [0.9, None], False),
        ],
        "b": [Trial("lr0.0001-kl_coef0.5", [None, None], False)],
    }
    assert findings.arms["a"].tuned == {"lr": 1e-4, "algo.kl_coef": 0.5}
    assert findings_of(folder()).arms["a"].tuned == {}
