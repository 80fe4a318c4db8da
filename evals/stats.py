"""Estimators and intervals over plain arrays.  No torch, no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


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

    Degenerate cases: n = 0 says nothing, (0, 1); no success has the lower end exactly 0, no failure the upper
    end exactly 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0..n, not {successes} of {n}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    center = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (center - half) / scale
    high = 1.0 if successes == n else (center + half) / scale
    return low, high
