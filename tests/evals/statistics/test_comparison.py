"""Comparisons of arms against scipy, hand derivations, closed testing and simulated families with known differences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from scipy import integrate, special
from scipy import stats as scipys

from evals.statistics.comparison import (
    AHEAD,
    BETTER,
    LEVEL,
    MARGIN,
    MIN_SEEDS,
    POWER,
    Comparison,
    Paired,
    compare_pairs,
    crossed,
    paired,
)
from tests.helpers import close


def of(n: int, mean: float, sd: float) -> Paired:
    """A difference over n seeds."""
    return Paired(n, mean, sd, sd / math.sqrt(n), n - 1, 0.0)


def holes(values: Iterable[float]) -> list[float | None]:
    """nan equals nothing, None equals None."""
    return [None if math.isnan(x) else x for x in values]


def most(trials: int, chance: float) -> float:
    """As often as an event of that chance happens in so many trials, but for one time in 10,000."""
    return float(scipys.binom.ppf(1 - 1e-4, trials, chance))


# --- one pair ---------------------------------------------------------------------------------------------------


def test_paired_by_hand() -> None:
    # 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2).  d = 2, 3, 4: t = 3 / (1 / sqrt 3) = 3 sqrt 3 = 5.196.
    got = paired([3, 5, 7], [1, 2, 3])
    close((got.n, got.mean, got.sd, got.correlation), (3, 3, 1, 1))
    close(got.p, 1 - math.sqrt(27 / 29))
    close(got.p, 0.0351, atol=5e-5)
    t = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    close(got.interval(), (3 - t / math.sqrt(3), 3 + t / math.sqrt(3)))
    # 4 degrees: p = 1 - x (3 - x^2) / 2, x = t / sqrt(4 + t^2).  d = 1..5: sd sqrt 2.5, t^2 = 9 / 0.5, x^2 = 18 / 22.
    x = math.sqrt(18 / 22)
    close(paired([1, 2, 3, 4, 5], [0] * 5).p, 1 - x * (3 - x * x) / 2)


def test_paired_is_scipys() -> None:
    generator = np.random.default_rng(3)
    for n in [3, 4, 5, 10, 30] * 4:
        shared = generator.normal(size=n)
        a, b = shared + generator.normal(0.3, 0.5, n), shared + generator.normal(0, 0.5, n)
        got, theirs = paired(a, b), scipys.ttest_rel(a, b)
        assert got.n == n and got.why == ""
        close((got.mean, got.p), ((a - b).mean(), theirs.pvalue))
        close(got.sd, math.sqrt(sum((d - got.mean) ** 2 for d in a - b) / (n - 1)))
        close(got.correlation, scipys.pearsonr(a, b).statistic)
        for level in (0.8, LEVEL, 1 - 0.05 / 6):
            close(got.interval(level), theirs.confidence_interval(level))


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [2.0]), ([1.0, 3.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, 1.0])])
def test_too_few_seeds_have_no_interval(a: list[float], b: list[float]) -> None:
    got = paired(a, b)
    assert got.why.startswith(f"{len(a)} seed{'' if len(a) == 1 else 's'};") and got.interval() is None
    assert holes([got.mean]) == holes([sum(x - y for x, y in zip(a, b, strict=True)) / len(a) if a else math.nan])
    assert all(math.isnan(x) for x in (got.sd, got.p, got.correlation, got.detectable()))


def test_differences_without_spread() -> None:
    values = [0.1, 0.5, 0.7]
    same = paired(values, values)
    assert (same.why, same.mean, same.sd, same.p, same.interval()) == ("", 0, 0, 1, (0, 0))
    assert math.isnan(same.detectable())
    # 0.7 - 0.6 and 0.3 - 0.2 are 0.1 but for the last bits: equal, and no spread of 1e-17 to divide by.
    shifted = paired([0.3, 0.7, 0.9], [0.2, 0.6, 0.8])
    assert "same amount" in shifted.why and shifted.interval() is None
    close((shifted.mean, shifted.correlation), (0.1, 1))
    assert math.isnan(shifted.p) and math.isnan(shifted.detectable())
    # 0.1 + 0.2 is not 0.3 but for rounding.
    assert paired([0.1 + 0.2, 0.5, 0.7], [0.3, 0.5, 0.7]).p == 1


def test_an_arm_without_variance_is_compared_like_any_other() -> None:
    with np.errstate(divide="raise", invalid="raise"):  # nor does its correlation divide by nothing
        got, other = paired([0.5] * 3, [0.1, 0.2, 0.6]), paired([0.4, 0.3, -0.1], [0.0] * 3)
    assert math.isnan(got.correlation) and math.isnan(other.correlation)
    close((got.mean, got.sd, got.p, *got.interval()), (other.mean, other.sd, other.p, *other.interval()))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2, 3], [1, 2], "as many values"),
        ([[1, 2, 3]], [[1, 2, 3]], "as many values"),
        ([1, 2, math.nan], [1, 2, 3], "finite"),
        ([1, 2, 3], [1, math.inf, 3], "finite"),
    ],
)
def test_paired_refuses(a: list, b: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired(a, b)


def power_of(difference: float, n: int, level: float) -> float:
    """P(|T'| > c), for differences of SD 1: T' = (z + difference sqrt n) / (y / sqrt df), z normal, y chi."""
    critical, shift, df = scipys.t.ppf((1 + level) / 2, n - 1), difference * math.sqrt(n), n - 1

    def integrand(y: float) -> float:
        beyond = critical * y / math.sqrt(df)
        return scipys.chi.pdf(y, df) * (scipys.norm.cdf(shift - beyond) + scipys.norm.cdf(-shift - beyond))

    return integrate.quad(integrand, 0, 12, epsabs=1e-11)[0]


@pytest.mark.parametrize("power", [0.06, POWER, 0.95])  # near the level both tails matter
@pytest.mark.parametrize("level", [LEVEL, 1 - 0.05 / 3, 1 - 0.05 / 28])
@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_detectable_difference_has_its_power(n: int, level: float, power: float) -> None:
    results = of(n, 0.4, 0.02).detectable(level, power)
    close(power_of(results / 0.02, n, level), power, atol=1e-5)


def test_the_detectable_difference_is_separated_as_often_as_it_says() -> None:
    generator, trials, n = np.random.default_rng(4), 4000, 5
    results = of(n, 0.0, 1.0).detectable()
    p_T = scipys.ttest_1samp(generator.normal(results, 1, (trials, n)), 0, axis=1).pvalue
    separated = int((p_T < 1 - LEVEL).sum())
    assert trials - most(trials, 1 - POWER) <= separated <= most(trials, POWER)


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.02, 0.05])
@pytest.mark.parametrize("mean", [-0.06, -0.02, 0.0, 0.015, 0.03])
def test_tests_of_the_margin_are_what_the_interval_says(mean: float, margin: float) -> None:
    """Each p is the a at which the interval at level 1 - a touches: 0, the margin from outside, the margin from
    within."""
    d = of(6, mean, 0.02)
    for p, touches in (
        (d.p, lambda low, high: low > 0 or high < 0),
        (d.p_beyond(margin), lambda low, high: low > margin or high < -margin),
        (d.p_within(margin), lambda low, high: -margin < low and high < margin),
    ):
        for a in (0.001, 0.01, 0.05, 0.3, 0.7):
            if abs(a - p) > 1e-9:
                assert touches(*(d.interval(1 - a) or ())) == (p < a)


# --- seeds and problems -----------------------------------------------------------------------------------------


def anova(d_SI: np.ndarray) -> tuple[float, float]:
    """(standard error, degrees of freedom) of the mean, by loops over the two-way table."""
    (n, items), mean = d_SI.shape, d_SI.mean()
    seed = [sum(row) / items for row in d_SI]
    item = [sum(row[i] for row in d_SI) / n for i in range(items)]
    ms_s = sum(items * (x - mean) ** 2 for x in seed) / (n - 1)
    ms_i = sum(n * (x - mean) ** 2 for x in item) / (items - 1)
    rest = sum((d_SI[s][i] - seed[s] - item[i] + mean) ** 2 for s in range(n) for i in range(items))
    ms_e = rest / ((n - 1) * (items - 1))
    total = max(ms_s + ms_i - ms_e, ms_s, ms_i)
    df = total**2 / (ms_s**2 / (n - 1) + ms_i**2 / (items - 1) + ms_e**2 / ((n - 1) * (items - 1)))
    return math.sqrt(total / (n * items)), df


def test_crossed_is_the_two_way_table_written_out() -> None:
    generator = np.random.default_rng(20)
    for n, items in [(3, 7), (5, 30), (4, 12)]:
        a_SI, b_SI = ((generator.random((n, items)) < p).astype(float) for p in (0.6, 0.4))
        got = crossed(a_SI, b_SI)
        stderr, df = anova(a_SI - b_SI)
        close((got.mean, got.stderr, got.df), ((a_SI - b_SI).mean(), stderr, df))
        close(got.correlation, paired(a_SI.mean(1), b_SI.mean(1)).correlation)
        assert (got.scope, got.problems, got.n) == ("seeds and problems", items, n) and 0 <= got.problem_share <= 1


def test_problems_add_what_seeds_alone_do_not_see() -> None:
    """By hand: every seed is alike, A solves one problem of four that B does not.  Over seeds the difference of 1/4 has
    no spread; over problems it is that of four draws 1, 0, 0, 0: s = 1/2, stderr 1/4, df 3."""
    a_SI, b_SI = np.tile([1.0, 1.0, 0.0, 0.0], (3, 1)), np.tile([0.0, 1.0, 0.0, 0.0], (3, 1))
    assert "same amount" in paired(a_SI.mean(1), b_SI.mean(1)).why
    got = crossed(a_SI, b_SI)
    close((got.mean, got.stderr, got.df, got.problem_share), (0.25, 0.25, 3, 1))


def test_crossed_where_there_is_nothing_to_cross() -> None:
    ones = np.ones((3, 4))
    same = crossed(ones, ones)
    assert (same.mean, same.stderr, same.why, same.p) == (0, 0, "", 1)
    assert "same amount" in crossed(ones, np.zeros((3, 4))).why
    assert crossed(ones[:2], np.zeros((2, 4))).why.startswith("2 seeds")
    for wrong in [(ones, ones[:, :3]), (ones[:, :1], ones[:, :1]), (ones[0], ones[0])]:
        with pytest.raises(ValueError, match="seeds x problems"):
            crossed(*wrong)


@pytest.mark.parametrize(("seeds", "items"), [(3, 200), (10, 100)])
def test_crossed_covers_where_problems_differ_between_arms(seeds: int, items: int) -> None:
    """Each arm has problems of its own that it solves: over seeds alone the interval covers far less than it says."""
    generator, trials, sigma, own = np.random.default_rng(21), 400, 0.1, 2.0
    covered = Counter[str]()
    for _ in range(trials):
        easy_I, hits = 1.5 * generator.standard_normal(items), []
        for _ in range(2):
            ability_SI = sigma * generator.standard_normal((seeds, 1)) + easy_I + own * generator.standard_normal(items)
            hits.append((generator.random((seeds, items)) < special.expit(ability_SI)).astype(float))
        for name, d in (("crossed", crossed(*hits)), ("alone", paired(hits[0].mean(1), hits[1].mean(1)))):
            low, high = d.interval() or (1, -1)
            covered[name] += low <= 0 <= high
    assert covered["crossed"] >= trials - most(trials, 0.06) and covered["alone"] < 0.93 * trials


# --- families ---------------------------------------------------------------------------------------------------

FAR = paired([9, 10, 11], [0, 0, 0])  # t = 10 sqrt 3, p = 1 - sqrt(300/302) = 0.0033
NEAR = paired([2, 3, 4], [0, 0, 0])  # t = 3 sqrt 3, p = 1 - sqrt(27/29) = 0.0351
SMALL = paired([-0.001, 0, 0.001], [0, 0, 0])
SAME = paired([1, 2, 3], [1, 2, 3])
NONE = paired([1, 2, 3], [0, 1, 2])


def test_what_is_settled_leaves_the_family() -> None:
    # Of two, 0.0033 is below 0.05 / 2, and beyond the margin too: that contrast is settled, and the other one is alone.
    far, near = compare_pairs([FAR, NEAR])
    assert (far.kind, near.kind, far.family) == ("A better", "A better", 2)
    close((far.low, far.high, near.low, near.high), (*FAR.interval(), *NEAR.interval()))
    close((near.p, near.detectable), (NEAR.p, NEAR.detectable()))
    # Twice the same: neither is below 0.05 / 2, and nothing is settled.
    alike = compare_pairs([NEAR, NEAR])[0]
    assert alike.kind == "undecided"
    close((alike.p, alike.low, alike.high), (2 * NEAR.p, *NEAR.interval(0.975)))


def test_only_pairs_with_an_interval_are_in_the_family() -> None:
    near, none = compare_pairs([NEAR, NONE])
    assert (near.kind, none.kind, none.pair, near.family) == ("A better", "no interval", NONE, 1)
    close((near.low, near.high), NEAR.interval())
    assert all(math.isnan(x) for x in (none.p, none.low, none.high, none.detectable))
    # A pair that is the same run by run was looked at: it counts.
    near, same = compare_pairs([NEAR, SAME])
    assert (near.kind, same.kind, same.p, same.low, same.high) == ("undecided", "identical", 1, 0, 0)
    assert compare_pairs([]) == []


def test_equivalence() -> None:
    high = SMALL.interval()[1]  # 0 -+ 4.303 * 0.001 / sqrt 3
    close(high, 0.95 * math.sqrt(2 / (1 - 0.95**2)) * 0.001 / math.sqrt(3))
    assert compare_pairs([SMALL])[0].kind == "equivalent" and high < MARGIN
    # Within the margin, not at it; on either side; with the interval of the family, not of the pair.
    assert compare_pairs([SMALL], margin=high * (1 - 1e-9))[0].kind == "undecided"
    assert compare_pairs([SMALL], margin=high * (1 + 1e-9))[0].kind == "equivalent"
    assert compare_pairs([SMALL, SAME], margin=high * (1 + 1e-9))[0].kind == "undecided"
    for sign in (-1, 1):
        off = paired([sign * x for x in (0.018, 0.019, -0.001)], [0, 0, 0])
        assert compare_pairs([off])[0].kind == "undecided"


@pytest.mark.parametrize(
    ("mean", "kind"),
    [(0.003, "A ahead"), (-0.003, "B ahead"), (0.0004, "equivalent"), (0.03, "A better"), (-0.03, "B better"),
     (0.0195, "A better")],
)  # fmt: skip
def test_a_difference_that_does_not_matter_is_not_called_better(mean: float, kind: str) -> None:
    """The margin is 0.02, and half an interval 0.001: 0.0195 may be more than the margin."""
    half = of(10, 0.0, 1.0).interval()[1]
    assert compare_pairs([of(10, mean, 0.001 / half)])[0].kind == kind


def test_verdicts_at_another_level() -> None:
    assert compare_pairs([NEAR], level=0.96)[0].kind == "A better"  # p = 0.0351
    verdict = compare_pairs([NEAR], level=0.97)[0]
    assert verdict.kind == "undecided"
    close((verdict.low, verdict.high, verdict.detectable), (*NEAR.interval(0.97), NEAR.detectable(0.97)))


def families(count: int) -> list[np.ndarray]:
    """Arms x seeds, near and far apart, noisy and calm, some equal or equal but for a constant.

    In 1024ths, so that sums and differences are exact: nothing but the arithmetic of the tests rounds."""
    generator = np.random.default_rng(6)
    results = []
    for _ in range(count):
        arms, seeds = generator.integers(2, 5), generator.integers(MIN_SEEDS, 9)
        effect_A1 = generator.choice([0, 0, 0.01, 0.03, 0.1], (arms, 1)) + generator.choice([0, 0.1], (arms, 1))
        noise_A1 = generator.choice([0.003, 0.01, 0.03], (arms, 1))
        values_AS = effect_A1 + generator.normal(0, 0.03, seeds) + noise_A1 * generator.normal(size=(arms, seeds))
        values_AS = np.round(1024 * values_AS) / 1024
        if generator.random() < 0.3:
            values_AS[-1] = values_AS[0] + generator.choice([0, 1 / 8])
        results.append(values_AS)
    return results


def verdicts(arms_AS: np.ndarray) -> list[Comparison]:
    return compare_pairs([paired(a_S, b_S) for a_S, b_S in combinations(arms_AS, 2)])


def agree(first: list[Comparison], second: list[Comparison]) -> None:
    assert [v.kind for v in first] == [v.kind for v in second]
    for v, w in zip(first, second, strict=True):
        close(holes((v.p, v.low, v.high)), holes((w.p, w.low, w.high)))


def slow_step_down(pairs: list[Paired], *margins: float) -> int:
    """k at the end, as the docstring says it: one hypothesis after another, from the smallest p, by plain loops."""
    each = margins * len(pairs) if len(margins) == 1 else margins
    tested = [(d, margin) for d, margin in zip(pairs, each, strict=True) if not d.why]
    rejected: set[tuple[int, str]] = set()
    while True:
        settled = [
            i for i in range(len(tested))
            if (i, "beyond") in rejected or {(i, "differs"), (i, "within")} <= rejected
        ]  # fmt: skip
        k = max(len(tested) - len(settled), 1)
        waiting = [
            (p, i, name)
            for i, (d, margin) in enumerate(tested)
            for name, p in (("differs", d.p), ("beyond", d.p_beyond(margin)), ("within", d.p_within(margin)))
            if (i, name) not in rejected
        ]
        if not waiting or min(waiting)[0] >= 0.05 / k:
            return k
        rejected.add(min(waiting)[1:])


def test_every_word_is_what_its_interval_says() -> None:
    """At the level of the step-down, for all words; and the step-down is a loop over hypotheses."""
    seen: Counter[str] = Counter()
    for arms_AS in families(150):
        results = verdicts(arms_AS)
        k = slow_step_down([v.pair for v in results], MARGIN)
        seen["settled"] += k < sum(not v.pair.why for v in results)
        for v in results:
            seen[v.kind] += 1
            assert (v.kind == "no interval") == bool(v.pair.why)
            if v.pair.why:
                continue
            close((v.low, v.high), v.pair.interval(1 - 0.05 / k))
            apart, within = v.low > 0 or v.high < 0, v.low > -MARGIN and v.high < MARGIN
            assert (v.kind in BETTER) == (apart and not within) and (v.kind in AHEAD) == (apart and within)
            assert (v.kind in ("equivalent", "identical")) == (not apart and within)
            assert v.kind not in (*BETTER, *AHEAD) or (v.kind[0] == "A") == (v.pair.mean > 0)
            assert (v.p < 0.05) == apart
    assert {*BETTER, "equivalent", "undecided", "identical", "no interval", "settled"} <= set(seen)


def test_each_contrast_of_a_family_may_have_its_own_margin() -> None:
    """Of 0, of what matters, and more than any difference: the loop's k, and the words that intervals say."""
    seen: Counter[str] = Counter()
    for arms_AS in families(150):
        pairs = [v.pair for v in verdicts(arms_AS)]
        margins = [(0.0, MARGIN, 0.3)[i % 3] for i in range(len(pairs))]
        compared, k = compare_pairs(pairs, margins), slow_step_down(pairs, *margins)
        for c, d, margin in zip(compared, pairs, margins, strict=True):
            if d.why:
                continue
            close((c.low, c.high), d.interval(1 - 0.05 / k))
            apart, within = c.low > 0 or c.high < 0, c.low > -margin and c.high < margin
            assert (c.kind in BETTER) == (apart and not within) and (c.kind in AHEAD) == (apart and within)
            seen[f"{c.kind[2:] if apart else c.kind} {margin}"] += 1
    assert {"better 0.0", "better 0.02", "ahead 0.3", "equivalent 0.02", "equivalent 0.3"} <= set(seen)
    assert "ahead 0.0" not in seen and "equivalent 0.0" not in seen


def test_verdicts_are_mirrored_when_arms_are_swapped() -> None:
    for arms_AS in families(40):
        mirrored = verdicts(-arms_AS)  # A - B of the negatives is B - A
        swapped = compare_pairs([paired(b_S, a_S) for a_S, b_S in combinations(arms_AS, 2)])
        agree(swapped, mirrored)
        for v, w in zip(verdicts(arms_AS), swapped, strict=True):
            other = {"A": "B", "B": "A"}.get(v.kind[0], v.kind[0])
            assert w.kind == (f"{other}{v.kind[1:]}" if v.kind in (*BETTER, *AHEAD) else v.kind)
            close(holes((v.p, v.low, v.high)), holes((w.p, -w.high, -w.low)))


def test_verdicts_depend_on_differences_alone() -> None:
    """Not on a shift of both arms, be it per seed; nor on the order of seeds or of pairs."""
    generator = np.random.default_rng(7)
    for arms_AS in families(40):
        results, seeds = verdicts(arms_AS), arms_AS.shape[1]
        agree(verdicts(arms_AS + 1 / 8), results)
        agree(verdicts(arms_AS + generator.integers(0, 99, seeds) / 1024), results)
        agree(verdicts(arms_AS[:, generator.permutation(seeds)]), results)
        agree(compare_pairs([v.pair for v in results[::-1]])[::-1], results)


def test_a_family_of_one_is_the_paired_t_test() -> None:
    for arms_AS in families(40):
        (v,) = verdicts(arms_AS[:2])
        if v.kind not in ("identical", "no interval"):
            theirs = scipys.ttest_rel(*arms_AS[:2])
            close((v.p, v.low, v.high), (theirs.pvalue, *theirs.confidence_interval(0.95)))
            assert (v.kind in (*BETTER, *AHEAD)) == (theirs.pvalue < 0.05)


def false_words(v: Comparison, truth: float) -> bool:
    """Is what a comparison says wrong of this true difference?"""
    if v.kind in (*BETTER, *AHEAD) and truth * (1 if v.kind[0] == "A" else -1) <= 0:
        return True
    if v.kind in ("equivalent", *AHEAD) and abs(truth) >= MARGIN:
        return True
    return (v.low > MARGIN and truth <= MARGIN) or (v.high < -MARGIN and truth >= -MARGIN)


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize(
    "mean_A",
    [(0, 0, 0), (0, 0, 0.5), (0, MARGIN, 0.5, 0.5 + MARGIN), (0, 0.005, 0.3), (0, 0, MARGIN, MARGIN)],
    ids=["alike", "one apart", "pairs at the margin", "near", "two at the margin"],
)
def test_errors_are_held_over_the_whole_family(mean_A: tuple[float, ...], seeds: int) -> None:
    """Any false word of any contrast, 5 % at most: better or ahead where nothing is, equivalent at the margin, more
    than the margin where it is not."""
    generator, trials, wrong = np.random.default_rng(8), 600, 0
    for _ in range(trials):
        runs_AS = np.array(mean_A)[:, None] + 0.004 * generator.normal(size=(len(mean_A), seeds))
        truths = [a - b for a, b in combinations(mean_A, 2)]
        wrong += any(false_words(v, t) for v, t in zip(verdicts(runs_AS), truths, strict=True))
    assert wrong <= most(trials, 0.05)
