"""Estimators, intervals and comparisons of arms over plain arrays.  No torch, no model.

The unit is the training run.  The estimand is an arm's mean over training seeds, on this test set, for this start
model.  Runs with the same seed share prompts and random numbers, so arms are compared in pairs.

numpy and scipy only: a GPU machine that trains has them, but need not have statsmodels.

Shapes: A arms, S seeds, I items (problems), B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
MARGIN = 0.02  # of equivalence, in accuracy
POWER = 0.8
MIN_SEEDS = 3  # one seed has no spread; the t-interval of two spans most of the range of accuracies


def mean_stderr(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The mean of n values and its standard error, s / sqrt(n) with s^2 = sum (x - mean)^2 / (n - 1).

    It is what lm-eval reports for a mean (`lm_eval.api.metrics.mean_stderr`): over problems, never over seeds.
    For 0/1 values it is sqrt(p (1 - p) / (n - 1)).

    Degenerate cases: n = 0 gives (nan, nan); n = 1 gives (x, nan), for one value has no spread.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        return math.nan, math.nan
    if x.size == 1:
        return float(x[0]), math.nan
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(x.size))


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion p = successes / n, at a confidence level (Wilson 1927, eq. 10-12).

        (p + z^2/2n  -+  z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n),     z = Phi^-1((1 + level) / 2)

    Unlike p -+ z s it stays within 0..1 and has a width at p = 0 and p = 1.  wilson(8, 10) = (0.490, 0.943).

    Degenerate cases: n = 0 gives (0, 1); without a success the lower end is exactly 0, without a failure the upper
    end is exactly 1.  Raises ValueError unless 0 <= successes <= n and 0 < level < 1.
    """
    return _proportion_interval(successes, n, level, "wilson")


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper & Pearson 1934): its ends are quantiles of Beta distributions,

        low = Beta^-1(a/2; k, n-k+1),   high = Beta^-1(1 - a/2; k+1, n-k),   a = 1 - level

    It covers at least `level` at every n, which is why it is used for counts of few runs.  clopper_pearson(0, 10) =
    (0, 0.308).  Degenerate case: n = 0 gives (0, 1).  Raises ValueError as `wilson` does.
    """
    return _proportion_interval(successes, n, level, "exact")


def _proportion_interval(
    successes: int, n: int, level: float, method: Literal["wilson", "exact"]
) -> tuple[float, float]:
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0..n, not {successes} of {n}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if n == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, n).proportion_ci(level, method=method)
    return float(interval.low), float(interval.high)


def iqm(values_S: Sequence[float] | np.ndarray) -> float:
    """Interquartile mean: the mean of the middle half (Agarwal et al. 2021, 2108.13264); floor(n/4) values are cut
    off each end.  iqm([0, 1, 2, 9]) = 1.5."""
    return float(stats.trim_mean(np.asarray(values_S, dtype=np.float64), 0.25)) if len(values_S) else math.nan


def probability_of_improvement(a_S: Sequence[float] | np.ndarray, b_S: Sequence[float] | np.ndarray) -> float:
    """P(a run of A is better than a run of B): the mean of [a > b] + [a = b] / 2 over all pairs (2108.13264 §4.3;
    Mann-Whitney's U / n m).  Not paired: each arm is run once.  Empty input gives nan."""
    a_S1, b_1S = np.asarray(a_S, dtype=np.float64)[:, None], np.asarray(b_S, dtype=np.float64)[None, :]
    return float(((a_S1 > b_1S) + 0.5 * (a_S1 == b_1S)).mean()) if a_S1.size and b_1S.size else math.nan


def t_interval(values_S: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float] | None:
    """mean -+ t(n-1; (1 + level)/2) s / sqrt(n) of one arm over its seeds; None with fewer than MIN_SEEDS."""
    x = np.asarray(values_S, dtype=np.float64)
    if len(x) < MIN_SEEDS:
        return None
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


# --- pairs of arms ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """A minus B, paired by seed.

    `why` says why there is no interval, and is empty if there is one.  `correlation` is that of the two arms over
    seeds: it shows how much variance the pairing removes (nan if an arm does not vary).
    """

    n: int
    mean: float
    sd: float  # s of the differences, with n - 1
    p: float  # two-sided, of mean 0, before any correction; nan without an interval
    correlation: float
    why: str = ""

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """mean -+ t(n-1; (1 + level)/2) s / sqrt(n)."""
        if self.why:
            return None
        half = float(stats.t.ppf((1 + level) / 2, self.n - 1)) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    def detectable(self, level: float = LEVEL, power: float = POWER) -> float:
        """The smallest true difference that a test with this n and this s would detect with probability `power`:
        delta with P(|T'| > t(n-1; (1 + level)/2)) = power, T' noncentral t with noncentrality delta sqrt(n) / s.
        nan without an interval or without spread.

        Not by statsmodels' TTestPower: it calls scipy's nct, which returns nan for large noncentralities, and its
        search then ends at a wrong value without an error: for n = 3, level = 1 - 0.05/3 it gives 4.52 s, where 5.67 s
        has the power of 0.8.
        """
        if self.why or self.sd == 0:
            return math.nan
        critical, df = float(stats.t.ppf((1 + level) / 2, self.n - 1)), self.n - 1
        # T' = (Z + shift) / c with c^2 ~ chi^2(df) / df: the mean over quantiles of c replaces the integral over c
        c = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, df) / df)

        def excess_power(shift: float) -> float:
            rejected = stats.norm.sf(critical * c - shift) + stats.norm.cdf(-critical * c - shift)
            return float(rejected.mean()) - power

        return float(optimize.brentq(excess_power, 0.0, 3 * critical + 10)) * self.sd / math.sqrt(self.n)


def paired(a_S: Sequence[float] | np.ndarray, b_S: Sequence[float] | np.ndarray) -> Paired:
    """The paired t-test of two arms whose i-th entries have the same seed.

        t = mean(d) / (s / sqrt(n)),   d_i = a_i - b_i,   p = 2 P(T_{n-1} > |t|)

    paired([3, 5, 7], [1, 2, 3]) has mean 3, sd 1, t = 5.196, p = 0.0351.

    Degenerate cases, all without an error: fewer than MIN_SEEDS seeds, or differences that are all equal but not 0,
    have no interval (`why` gives the reason); differences that are all 0 (bitwise equal runs) have the interval 0 to 0
    and p = 1.  Raises ValueError on arrays of different lengths and on values that are not finite.
    """
    a, b = np.asarray(a_S, dtype=np.float64), np.asarray(b_S, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"pairs need as many values on both sides, not {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("pairs need finite values")
    n, d = len(a), a - b
    mean = float(d.mean()) if n else math.nan
    if n < MIN_SEEDS:
        return Paired(n, mean, math.nan, math.nan, math.nan, f"{n} seed{'s' * (n != 1)}; at least {MIN_SEEDS} needed")
    correlation = float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan
    if np.ptp(d) <= 1e-12:  # equal but for rounding in the mean of 0/1 outcomes
        if abs(mean) <= 1e-12:
            return Paired(n, 0.0, 0.0, 1.0, correlation)
        return Paired(n, mean, 0.0, math.nan, correlation, "every seed differs by the same amount")
    sd = float(d.std(ddof=1))
    p = 2 * float(stats.t.sf(abs(mean) / (sd / math.sqrt(n)), n - 1))
    return Paired(n, mean, sd, p, correlation)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the family-wise error rate (Holm 1979).

        p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)),   p sorted upwards

    holm([0.01, 0.04, 0.03]) = [0.03, 0.06, 0.06].  A nan (no test was made) stays nan and is not in the family.

    Here rather than from a library: scipy has no Holm correction, and statsmodels' `multipletests` would be a new
    dependency for these lines and takes no nan.
    """
    tested = sorted((x, i) for i, x in enumerate(p) if not math.isnan(x))
    adjusted, highest = [math.nan] * len(p), 0.0
    for rank, (x, i) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * x))
        adjusted[i] = highest
    return adjusted


Kind = Literal["A better", "B better", "equivalent", "not separated", "identical", "no interval"]


@dataclass(frozen=True)
class Comparison:
    """The result for one pair of arms, corrected for all pairs of the family."""

    kind: Kind
    pair: Paired
    p_holm: float
    low: float  # of the simultaneous interval; nan without one
    high: float
    detectable: float  # at the level of that interval; nan without one, or without spread


def compare_pairs(pairs: Sequence[Paired], margin: float = MARGIN, level: float = LEVEL) -> list[Comparison]:
    """The comparisons of a family of m pairs.  With a = 1 - level:

    *A better*, *B better*: Holm's adjusted p is below a; the family-wise error rate is at most a.
    *equivalent*: not separated, and the interval lies within -margin..margin (two one-sided tests, each at a/2m).
    *not separated*: neither.  *identical*: the arms have equal values at every seed.

    The interval is the simultaneous one, each pair's at level 1 - a/m (Bonferroni): it covers all m differences jointly
    with probability at least `level`.  It never contradicts the kind: it excludes 0 if Bonferroni separates, and
    includes 0 if Holm does not separate.  If Holm separates and Bonferroni does not, the interval is cut off at 0.
    (The cuts can reduce the joint coverage by at most a; uncut intervals have all of it.)
    """
    m = sum(not pair.why for pair in pairs)
    each = 1 - (1 - level) / max(m, 1)
    return [
        _compare(pair, p, margin, round(1 - level, 12), each)
        for pair, p in zip(pairs, holm([x.p for x in pairs]), strict=True)
    ]


def _compare(pair: Paired, p: float, margin: float, alpha: float, each: float) -> Comparison:
    interval = pair.interval(each)
    if interval is None:
        return Comparison("no interval", pair, p, math.nan, math.nan, math.nan)
    low, high = interval
    kind: Kind = "not separated"
    if pair.sd == 0:
        kind = "identical"
    elif p < alpha:
        kind = "A better" if pair.mean > 0 else "B better"
        low, high = (max(low, 0.0), high) if pair.mean > 0 else (low, min(high, 0.0))
    elif -margin < low and high < margin:
        kind = "equivalent"
    return Comparison(kind, pair, p, low, high, pair.detectable(each))


# --- resampling -------------------------------------------------------------------------------------------------


def crossed_bootstrap(hit_ASI: np.ndarray, generator: np.random.Generator, resamples: int = 2000) -> np.ndarray:
    """Means of the arms [B, A] with seeds and items resampled, both shared by all arms (and items by all seeds).

        m_ba = 1/(S I) sum_s sum_i u_bs v_bi hit_asi,   u_b, v_b multinomial counts

    Unlike the t-interval over seeds it includes the variance over problems.
    Raises ValueError on an empty array.
    """
    if hit_ASI.ndim != 3 or 0 in hit_ASI.shape:
        raise ValueError(f"arms x seeds x items, none empty; not {hit_ASI.shape}")
    _, seeds, items = hit_ASI.shape
    u_BS = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    v_BI = generator.multinomial(items, np.full(items, 1 / items), resamples)
    return np.einsum("bs,bas->ba", u_BS, np.einsum("asi,bi->bas", hit_ASI, v_BI, optimize=True)) / (seeds * items)


def percentiles(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The central interval of resampled values."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
