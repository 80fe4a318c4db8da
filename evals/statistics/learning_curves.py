"""Accuracy against budget: where one arm overtakes another, and the budget at which a level is reached.  Plain arrays.

Shapes: S seeds, F points of the curve (fractions of the budget, ascending).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evals.statistics.estimates import LEVEL, MIN_SEEDS

Array = Sequence[float] | np.ndarray
FINE = 1001  # places along a curve at which its interval is looked at


def last_crossing(x_F: Array, d_F: Array) -> float | None:
    """The last sign change of a difference after the start, by linear interpolation; None if there is none.

    The point at x = 0 is skipped: there all arms are the start model.  A point that is exactly 0 has the sign of the
    last point before it that is not 0.  last_crossing([0, 1, 2, 3], [0, -1, 1, 2]) = 1.5.
    """
    crossing, sign, last = None, 0.0, (0.0, 0.0)
    for x, d in zip(x_F, d_F, strict=True):
        if x == 0:
            continue
        new_sign = math.copysign(1.0, d) if d else sign
        if new_sign * sign < 0:
            crossing = last[0] + (x - last[0]) * last[1] / (last[1] - d)
        sign, last = new_sign, (x, d)
    return None if crossing is None else float(crossing)


@dataclass(frozen=True)
class Crossover:
    """Where A's curve last crosses B's: `at` on the mean curves (None where they do not), in low..high at 95 % (None
    where the arms are separated all along, or there are too few seeds).

    `ends_open`: at the last point the difference is not separated from 0, so that the crossing may lie beyond it, or
    there may be none.
    """

    at: float | None
    low: float | None
    high: float | None
    ends_open: bool


def crossover(x_F: Array, a_SF: np.ndarray, b_SF: np.ndarray, level: float = LEVEL) -> Crossover:
    """The last sign change of mean_S(A - B) after the start, with the interval that inverts the paired t-interval:

        { x : |mean_S d(x)| <= t(S-1; (1 + level)/2) sd_S d(x) / sqrt(S) },     d linear between the points

    from its first place to its last.  Where the curves cross, their difference is 0, and its t-interval contains 0 with
    probability `level`.  (A percentile bootstrap over few seeds covers 69 to 94 %.)
    With fewer than MIN_SEEDS seeds there is no interval.  Raises ValueError with fewer than two points after the start,
    or without seeds.
    """
    if np.shape(a_SF) != np.shape(b_SF):
        raise ValueError(
            f"pairs need as many seeds and points on both sides, not {np.shape(a_SF)} and {np.shape(b_SF)}"
        )
    d_SF = np.asarray(a_SF, dtype=np.float64) - np.asarray(b_SF, dtype=np.float64)
    if d_SF.ndim != 2 or d_SF.shape[0] == 0 or d_SF.shape[1] != len(x_F) or np.count_nonzero(x_F) < 2:
        raise ValueError(f"seeds x points, with two points after the start; not {d_SF.shape}")
    # rounded, so that equal curves do not cross by rounding errors of a mean
    at = last_crossing(x_F, d_SF.mean(0).round(12))
    if len(d_SF) < MIN_SEEDS:
        return Crossover(at, None, None, True)
    after = np.asarray(x_F, dtype=np.float64) > 0
    points_F = np.asarray(x_F, dtype=np.float64)[after]
    fine_X = np.unique(np.concatenate([np.linspace(points_F[0], points_F[-1], FINE), points_F, [at or points_F[0]]]))
    d_SX = np.stack([np.interp(fine_X, points_F, d_F) for d_F in d_SF[:, after]])
    half_X = stats.t.ppf((1 + level) / 2, len(d_SX) - 1) * d_SX.std(0, ddof=1) / math.sqrt(len(d_SX))
    inside_X = np.abs(d_SX.mean(0)) <= half_X + 1e-12
    if not inside_X.any():  # separated all along: no crossing
        return Crossover(at, None, None, False)
    places = fine_X[inside_X]
    return Crossover(at, float(places[0]), float(places[-1]), bool(inside_X[-1]))


def reached(x_F: Array, y_F: Array, level: float) -> float:
    """The first x at which the curve, linearly interpolated, is at least `level`; inf if it never is.

    reached([0, 1, 2], [0.2, 0.4, 0.8], 0.6) = 1.5.
    """
    before: tuple[float, float] | None = None
    for x, y in zip(x_F, y_F, strict=True):
        if y >= level:
            return float(x if before is None else before[0] + (x - before[0]) * (level - before[1]) / (y - before[1]))
        before = (x, y)
    return math.inf
