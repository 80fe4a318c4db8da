"""Estimators against scipy and written-out sums; intervals and comparisons against hand derivations, closed testing and
simulated families with known differences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as scipys

from evals.statistics.comparison import (
    LEVEL,
    MARGIN,
    MIN_SEEDS,
    POWER,
    Comparison,
    Paired,
    clopper_pearson,
    compare_pairs,
    crossed_bootstrap,
    holm,
    iqm,
    mean_stderr,
    paired,
    percentiles,
    probability_of_improvement,
    t_interval,
    wilson,
)
from tests.helpers import close

BETTER = ("A better", "B better")


def holes(values: Iterable[float]) -> list[float | None]:
    """nan equals nothing, None equals None."""
    return [None if math.isnan(x) else x for x in values]


def most(trials: int, chance: float) -> float:
    """As often as an event of that chance happens in so many trials, but for one time in 10,000."""
    return float(scipys.binom.ppf(1 - 1e-4, trials, chance))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (57, 300), (999, 1000)])
def test_wilson_is_its_formula(successes: int, n: int, level: float) -> None:
    p, z = successes / n, scipys.norm.ppf((1 + level) / 2)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((p + z * z / (2 * n) + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    close(wilson(successes, n, level), (low if successes else 0.0, high if successes < n else 1.0), rtol=0, atol=1e-12)


def test_wilson_by_hand() -> None:
    z2 = 1.959964**2  # by hand: (0.8 + z^2/20 -+ z sqrt(0.016 + z^2/400)) / (1 + z^2/10)
    half = math.sqrt(z2 * (0.016 + z2 / 400))
    close(wilson(8, 10), [(0.8 + z2 / 20 + sign * half) / (1 + z2 / 10) for sign in (-1, 1)], atol=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == 0.0 and wilson(5, 5)[1] == 1.0


@pytest.mark.parametrize("wrong", [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0)])
def test_wilson_refuses(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must lie"):
        wilson(*wrong)


def test_mean_stderr() -> None:
    values = np.random.default_rng(0).normal(size=17)
    mean, stderr = mean_stderr(values)
    close(mean, sum(values) / 17)
    close(stderr, math.sqrt(sum((x - mean) ** 2 for x in values) / 16) / math.sqrt(17))
    close(mean_stderr([1.0, 0.0, 1.0, 1.0]), (0.75, math.sqrt(0.75 * 0.25 / 3)))
    assert mean_stderr([2.0])[0] == 2.0 and math.isnan(mean_stderr([2.0])[1])
    assert all(math.isnan(x) for x in mean_stderr([]))


# --- estimators -------------------------------------------------------------------------------------------------


def binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_clopper_pearson_inverts_the_binomial(n: int, level: float) -> None:
    tail = (1 - level) / 2
    results = [clopper_pearson(k, n, level) for k in range(n + 1)]
    for k, (low, high) in enumerate(results):  # at the ends, k or more and k or fewer have the chance a/2
        close(sum(binomial(n, i, low) for i in range(k, n + 1)), tail if k else 1)
        close(sum(binomial(n, i, high) for i in range(k + 1)), tail if k < n else 1)
    for p in np.linspace(0, 1, 101):
        assert sum(binomial(n, k, p) for k, (low, high) in enumerate(results) if low <= p <= high) >= level - 1e-12


def test_clopper_pearson_by_hand() -> None:
    close(clopper_pearson(0, 10), (0, 1 - 0.025**0.1))  # (1 - p)^10 = 0.025
    close(clopper_pearson(0, 10), (0, 0.3085), atol=1e-4)
    close(clopper_pearson(10, 10, 0.9), (0.05**0.1, 1))
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_iqm() -> None:
    assert iqm([0, 1, 2, 9]) == 1.5
    assert math.isnan(iqm([]))
    generator = np.random.default_rng(0)
    for n in range(1, 14):
        values = generator.normal(size=n)
        middle = sorted(values)[n // 4 : n - n // 4]
        close(iqm(values), sum(middle) / len(middle))


def test_probability_of_improvement() -> None:
    # 3 beats all but the 3, which it ties with; 1 beats nothing and ties with the 1: (2.5 + 0.5) / 6.
    assert probability_of_improvement([3, 1], [1, 2, 3]) == 0.5
    assert probability_of_improvement([4, 5], [1, 2, 3]) == 1
    assert math.isnan(probability_of_improvement([], [1.0])) and math.isnan(probability_of_improvement([1.0], []))
    generator = np.random.default_rng(1)
    for _ in range(50):
        a, b = generator.integers(0, 6, generator.integers(1, 9)), generator.integers(0, 6, generator.integers(1, 9))
        wins = sum(1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b)
        close(probability_of_improvement(a, b), wins / (len(a) * len(b)))
        close(probability_of_improvement(a, b), scipys.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
        close(probability_of_improvement(a, b) + probability_of_improvement(b, a), 1)


def test_t_interval() -> None:
    # Of T with 2 degrees of freedom P(|T| < t) = t / sqrt(2 + t^2) = q, hence t = q sqrt(2 / (1 - q^2)).
    t = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    close(t_interval([2, 3, 4]), (3 - t / math.sqrt(3), 3 + t / math.sqrt(3)))
    values = np.random.default_rng(2).normal(size=7)
    close(t_interval(values, 0.8), scipys.ttest_1samp(values, 0).confidence_interval(0.8))
    assert t_interval([1.0] * (MIN_SEEDS - 1)) is None
    assert t_interval([1.0] * MIN_SEEDS) == (1.0, 1.0)


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
    results = Paired(n, mean=0.4, sd=0.02, p=0.5, correlation=0.0).detectable(level, power)
    close(power_of(results / 0.02, n, level), power, atol=1e-5)


def test_the_detectable_difference_is_separated_as_often_as_it_says() -> None:
    generator, trials, n = np.random.default_rng(4), 4000, 5
    results = Paired(n, mean=0.0, sd=1.0, p=1.0, correlation=0.0).detectable()
    p_T = scipys.ttest_1samp(generator.normal(results, 1, (trials, n)), 0, axis=1).pvalue
    separated = int((p_T < 1 - LEVEL).sum())
    assert trials - most(trials, 1 - POWER) <= separated <= most(trials, POWER)


# --- families ---------------------------------------------------------------------------------------------------


def closed_testing(p: list[float]) -> list[float]:
    """A hypothesis is as unlikely as the likeliest intersection that it is part of, those by Bonferroni: |I| min p."""
    made = [i for i, x in enumerate(p) if not math.isnan(x)]
    intersections = [set(c) for size in range(1, len(made) + 1) for c in combinations(made, size)]
    return [
        max((min(1.0, len(c) * min(p[j] for j in c)) for c in intersections if i in c), default=math.nan)
        for i in range(len(p))
    ]


def test_holm_is_closed_testing() -> None:
    close(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])  # 3 * 0.01, then 2 * 0.03, then max(0.06, 1 * 0.04)
    assert holm([]) == [] and holes(holm([math.nan, 0.04])) == [None, 0.04]
    generator = np.random.default_rng(5)
    for _ in range(200):
        p = generator.choice([0.001, 0.01, 0.02, 0.3, math.nan, *generator.random(4) ** 3], generator.integers(1, 7))
        close(holes(holm(list(p))), holes(closed_testing(list(p))))


FAR = paired([9, 10, 11], [0, 0, 0])  # t = 10 sqrt 3, p = 1 - sqrt(300/302) = 0.0033
NEAR = paired([2, 3, 4], [0, 0, 0])  # t = 3 sqrt 3, p = 1 - sqrt(27/29) = 0.0351
SMALL = paired([-0.001, 0, 0.001], [0, 0, 0])
SAME = paired([1, 2, 3], [1, 2, 3])
NONE = paired([1, 2, 3], [0, 1, 2])


def test_holm_separates_where_bonferroni_reaches_across_zero() -> None:
    # Of two, 0.0033 is doubled and 0.0351 is not.  At 97.5 % t = 0.975 sqrt(2 / (1 - 0.975^2)) = 6.205, so that the
    # second interval would be 3 -+ 3.58: it is cut off at 0.
    half = 0.975 * math.sqrt(2 / (1 - 0.975**2)) / math.sqrt(3)
    far, near = compare_pairs([FAR, NEAR])
    assert (far.kind, near.kind) == ("A better", "A better")
    close((far.p_holm, near.p_holm), (2 * (1 - math.sqrt(300 / 302)), 1 - math.sqrt(27 / 29)))
    close((far.low, far.high, near.low, near.high), (10 - half, 10 + half, 0, 3 + half))
    close(near.detectable, NEAR.detectable(0.975))
    # Twice the same, 0.0702 is not below 0.05 and nothing is cut off.
    alike = compare_pairs([NEAR, NEAR])[0]
    assert alike.kind == "not separated"
    close((alike.p_holm, alike.low, alike.high), (2 * NEAR.p, 3 - half, 3 + half))


def test_only_pairs_with_an_interval_are_in_the_family() -> None:
    near, none = compare_pairs([NEAR, NONE])
    assert (near.kind, none.kind, none.pair) == ("A better", "no interval", NONE)
    close((near.low, near.high), NEAR.interval())
    assert all(math.isnan(x) for x in (none.p_holm, none.low, none.high, none.detectable))
    # A pair that is the same run by run was looked at: it counts.
    near, same = compare_pairs([NEAR, SAME])
    assert (near.kind, same.kind, same.p_holm, same.low, same.high) == ("not separated", "identical", 1, 0, 0)
    assert compare_pairs([]) == []


def test_equivalence() -> None:
    high = SMALL.interval()[1]  # 0 -+ 4.303 * 0.001 / sqrt 3
    close(high, 0.95 * math.sqrt(2 / (1 - 0.95**2)) * 0.001 / math.sqrt(3))
    assert compare_pairs([SMALL])[0].kind == "equivalent" and high < MARGIN
    # Within the margin, not at it; on either side; with the interval of the family, not of the pair.
    assert compare_pairs([SMALL], margin=high)[0].kind == "not separated"
    assert compare_pairs([SMALL], margin=math.nextafter(high, 1))[0].kind == "equivalent"
    assert compare_pairs([SMALL, SAME], margin=math.nextafter(high, 1))[0].kind == "not separated"
    for sign in (-1, 1):
        off = paired([sign * x for x in (0.018, 0.019, -0.001)], [0, 0, 0])
        assert compare_pairs([off])[0].kind == "not separated"
    # What is separated is not equivalent, however small.
    assert compare_pairs([paired([0.002, 0.003, 0.004], [0, 0, 0])])[0].kind == "A better"


def test_verdicts_at_another_level() -> None:
    assert compare_pairs([NEAR], level=0.96)[0].kind == "A better"  # p = 0.0351
    verdict = compare_pairs([NEAR], level=0.97)[0]
    assert verdict.kind == "not separated"
    close((verdict.low, verdict.high, verdict.detectable), (*NEAR.interval(0.97), NEAR.detectable(0.97)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the search for the detectable difference: no verdict depends on it, and it takes longer than the rest."""
    monkeypatch.setattr(Paired, "detectable", lambda *_: math.nan)


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
        close(holes((v.p_holm, v.low, v.high)), holes((w.p_holm, w.low, w.high)))


def test_intervals_never_contradict_verdicts(quick: None) -> None:
    seen: Counter[str] = Counter()
    for arms_AS in families(150):
        results = verdicts(arms_AS)
        adjusted = closed_testing([v.pair.p for v in results])
        compared = sum(v.kind != "no interval" for v in results)
        close(holes(v.p_holm for v in results), holes(adjusted))
        for v, p in zip(results, adjusted, strict=True):
            seen[v.kind] += 1
            assert (v.kind in BETTER) == (p < 0.05)
            assert (v.kind == "no interval") == bool(v.pair.why)
            if v.pair.why:
                continue
            low, high = v.pair.interval(1 - 0.05 / compared)
            assert v.low <= v.pair.mean <= v.high
            assert (v.low < 0 < v.high) == (v.kind in ("equivalent", "not separated"))
            assert (v.kind == "equivalent") == (-MARGIN < v.low < 0 < v.high < MARGIN)
            assert v.kind not in BETTER or (v.kind == "A better") == (v.pair.mean > 0)
            if low < 0 < high and v.kind in BETTER:
                seen["cut"] += 1
                close((v.low, v.high), (0, high) if v.kind == "A better" else (low, 0))
            else:
                close((v.low, v.high), (low, high))
    assert {"A better", "B better", "equivalent", "not separated", "identical", "no interval", "cut"} == set(seen)


def test_verdicts_are_mirrored_when_arms_are_swapped(quick: None) -> None:
    for arms_AS in families(40):
        mirrored = verdicts(-arms_AS)  # A - B of the negatives is B - A
        swapped = compare_pairs([paired(b_S, a_S) for a_S, b_S in combinations(arms_AS, 2)])
        agree(swapped, mirrored)
        for v, w in zip(verdicts(arms_AS), swapped, strict=True):
            assert w.kind == {"A better": "B better", "B better": "A better"}.get(v.kind, v.kind)
            close(holes((v.p_holm, v.low, v.high)), holes((w.p_holm, -w.high, -w.low)))


def test_verdicts_depend_on_differences_alone(quick: None) -> None:
    """Not on a shift of both arms, be it per seed; nor on the order of seeds or of pairs."""
    generator = np.random.default_rng(7)
    for arms_AS in families(40):
        results, seeds = verdicts(arms_AS), arms_AS.shape[1]
        agree(verdicts(arms_AS + 1 / 8), results)
        agree(verdicts(arms_AS + generator.integers(0, 99, seeds) / 1024), results)
        agree(verdicts(arms_AS[:, generator.permutation(seeds)]), results)
        agree(compare_pairs([v.pair for v in results[::-1]])[::-1], results)


def test_a_family_of_one_is_the_paired_t_test(quick: None) -> None:
    for arms_AS in families(40):
        (v,) = verdicts(arms_AS[:2])
        if v.kind not in ("identical", "no interval"):
            theirs = scipys.ttest_rel(*arms_AS[:2])
            close((v.p_holm, v.low, v.high), (theirs.pvalue, *theirs.confidence_interval(0.95)))
            assert (v.kind in BETTER) == (theirs.pvalue < 0.05)


@pytest.mark.parametrize("mean_A", [(0, 0, 0), (0, 0, 5)], ids=["all arms alike", "one arm apart"])
def test_errors_are_held_over_the_whole_family(mean_A: tuple[int, ...]) -> None:
    """False separations (of any pair), and uncut intervals that miss (any of) the true differences: 5 % at most."""
    generator, trials, seeds = np.random.default_rng(8), 2000, 5
    shared_T1S, own_TAS = generator.normal(size=(trials, 1, seeds)), generator.normal(size=(trials, 3, seeds))
    run_TAS = np.array(mean_A)[:, None] + shared_T1S + own_TAS
    left, right = zip(*combinations(range(3), 2), strict=True)
    difference_TPS = run_TAS[:, left] - run_TAS[:, right]
    truth_P = np.array([mean_A[a] - mean_A[b] for a, b in zip(left, right, strict=True)])

    p_TP = scipys.ttest_1samp(difference_TPS, 0, axis=2).pvalue
    false_TP = (np.array([holm(list(p_P)) for p_P in p_TP]) < 0.05) & (truth_P == 0)
    unit = Paired(seeds, mean=0.0, sd=1.0, p=1.0, correlation=0.0).interval(1 - 0.05 / 3)[1]
    missed_TP = abs(difference_TPS.mean(2) - truth_P) > unit * difference_TPS.std(2, ddof=1)
    for wrong_TP in (false_TP, missed_TP):
        assert 0 < wrong_TP.any(1).sum() <= most(trials, 0.05)


# --- resampling -------------------------------------------------------------------------------------------------


def test_crossed_bootstrap_is_the_sum_written_out() -> None:
    arms, seeds, items, resamples = 3, 4, 5, 6
    hit_ASI = np.random.default_rng(9).random((arms, seeds, items))
    generator = np.random.default_rng(10)
    u_BS = generator.multinomial(seeds, [1 / seeds] * seeds, resamples)
    v_BI = generator.multinomial(items, [1 / items] * items, resamples)
    expected = [
        [
            sum(u_BS[b][s] * v_BI[b][i] * hit_ASI[a][s][i] for s in range(seeds) for i in range(items)) / seeds / items
            for a in range(arms)
        ]
        for b in range(resamples)
    ]
    close(crossed_bootstrap(hit_ASI, np.random.default_rng(10), resamples), expected)


def test_crossed_bootstrap_shares_its_draws_and_has_no_bias() -> None:
    hit_SI = np.random.default_rng(11).random((5, 20)) < 0.4
    draws_BA = crossed_bootstrap(np.stack([hit_SI, hit_SI, ~hit_SI]), np.random.default_rng(12), 4000)
    # Equal arms stay equal, and rights and wrongs add up to 1, in every resample: arms share seeds and items.
    assert (draws_BA[:, 0] == draws_BA[:, 1]).all()
    close(draws_BA[:, 0] + draws_BA[:, 2], np.ones(4000))
    stderr = draws_BA[:, 0].std() / math.sqrt(4000)
    assert 0 < abs(draws_BA[:, 0].mean() - hit_SI.mean()) < 4 * stderr
    # One item of one seed leaves nothing to draw.
    assert crossed_bootstrap(np.array([[[3]], [[1]]]), np.random.default_rng(0), 2).tolist() == [[3, 1], [3, 1]]


@pytest.mark.parametrize("shape", [(0, 2, 2), (2, 0, 2), (2, 2, 0), (2, 2)])
def test_crossed_bootstrap_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="none empty"):
        crossed_bootstrap(np.zeros(shape), np.random.default_rng(0))


def test_percentiles() -> None:
    close(percentiles(np.arange(101)[::-1]), (2.5, 97.5))
    close(percentiles(np.arange(11.0), 0.8), (1, 9))
