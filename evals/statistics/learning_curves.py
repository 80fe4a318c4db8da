"""Accuracy against budget: where one arm overtakes another, and the budget at which a level is reached.  Plain arrays.

Shapes: S seeds, F points of the curve (fractions of the budget, ascending).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evals.statistics.comparison import LEVEL, percentiles

Array = Sequence[float] | np.ndarray


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
    """`at`: the crossing of the mean curves.  `low`..`high`: the 95 % interval over the resamples that cross.  `none`:
    the fraction of resamples that do not cross.  `at`, `low` and `high` are None if there is no crossing."""

    at: float | None
    low: float | None
    high: float | None
    none: float


def crossover(
    x_F: Array, a_SF: np.ndarray, b_SF: np.ndarray, generator: np.random.Generator, resamples: int = 2000
) -> Crossover:
    """The last sign change of mean_S(A - B), with a percentile interval over resampled seeds (in pairs).

    Raises ValueError with fewer than two points after the start, or without seeds.
    """
    if np.shape(a_SF) != np.shape(b_SF):
        raise ValueError(
            f"pairs need as many seeds and points on both sides, not {np.shape(a_SF)} and {np.shape(b_SF)}"
        )
    d_SF = np.asarray(a_SF, dtype=np.float64) - np.asarray(b_SF, dtype=np.float64)
    if d_SF.ndim != 2 or d_SF.shape[0] == 0 or d_SF.shape[1] != len(x_F) or np.count_nonzero(x_F) < 2:
        raise ValueError(f"seeds x points, with two points after the start; not {d_SF.shape}")
    # rounded, so that equal curves do not cross by rounding errors of a mean
    drawn_BS = generator.integers(0, len(d_SF), (resamples, len(d_SF)))
    crossings = [last_crossing(x_F, d_F) for d_F in d_SF[drawn_BS].mean(1).round(12)]
    crossed = np.array([x for x in crossings if x is not None])
    low, high = percentiles(crossed, LEVEL) if len(crossed) else (None, None)
    return Crossover(last_crossing(x_F, d_SF.mean(0).round(12)), low, high, 1 - len(crossed) / resamples)


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
