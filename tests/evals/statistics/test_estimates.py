"""Estimators of one arm against scipy and written-out sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipys

from evals.statistics.estimates import (
    MIN_SEEDS,
    clopper_pearson,
    iqm,
    mean_stderr,
    probability_of_improvement,
    t_interval,
    wilson,
)
from tests.helpers import close


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
