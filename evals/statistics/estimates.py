"""Estimators of one arm, and their intervals, over plain arrays.

Shapes: S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import stats

LEVEL = 0.95
Z = 1.959964  # the normal's 97.5 % point
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
