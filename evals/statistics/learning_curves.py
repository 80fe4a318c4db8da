"""Accuracy against budget: where one arm overtakes another, and what a level costs.  Plain arrays.

Shapes: S seeds, F points of the curve (fractions of the budget, upwards).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evals.statistics.comparison import LEVEL, percentiles

Array = Sequence[float] | np.ndarray


def last_crossing(x_F: Array, d_F: Array) -> float | None:
    """Where a difference last changes its sign after the start, by straight lines; None where it never does.

    At x = 0 all arms are one model: that point is left out.  A point that is exactly 0 has the sign of the last one
    before it that was not.  last_crossing([0, 1, 2, 3], [0, -1, 1, 2]) = 1.5.
    """
    found, sign, last = None, 0.0, (0.0, 0.0)
    for x, d in zip(x_F, d_F, strict=True):
        if x == 0:
            continue
        turned = math.copysign(1.0, d) if d else sign
        if turned * sign < 0:
            found = last[0] + (x - last[0]) * last[1] / (last[1] - d)
        sign, last = turned, (x, d)
    return None if found is None else float(found)


@dataclass(frozen=True)
class Crossover:
    """`at` is that of the mean curves, `low`..`high` the interval among resamples that do cross, `none` the share of
    resamples that do not: P(no crossing)."""

    at: float | None
    low: float | None
    high: float | None
    none: float


def crossover(
    x_F: Array, a_SF: np.ndarray, b_SF: np.ndarray, generator: np.random.Generator, resamples: int = 2000
) -> Crossover:
    """The last sign change of mean_S(A - B), and how sure of it resampled seeds (in pairs) are.

    Raises ValueError where there are no two points after the start, or no seed.
    """
    if np.shape(a_SF) != np.shape(b_SF):
        raise ValueError(
            f"pairs need as many seeds and points on both sides, not {np.shape(a_SF)} and {np.shape(b_SF)}"
        )
    d_SF = np.asarray(a_SF, dtype=np.float64) - np.asarray(b_SF, dtype=np.float64)
    if d_SF.ndim != 2 or d_SF.shape[0] == 0 or d_SF.shape[1] != len(x_F) or np.count_nonzero(x_F) < 2:
        raise ValueError(f"seeds x points, with two points after the start; not {d_SF.shape}")
    # rounded: what is level must not seem to cross in the last bits of a mean
    drawn_BS = generator.integers(0, len(d_SF), (resamples, len(d_SF)))
    places = [last_crossing(x_F, d_F) for d_F in d_SF[drawn_BS].mean(1).round(12)]
    crossed = np.array([p for p in places if p is not None])
    low, high = percentiles(crossed, LEVEL) if len(crossed) else (None, None)
    return Crossover(last_crossing(x_F, d_SF.mean(0).round(12)), low, high, 1 - len(crossed) / resamples)


def reached(x_F: Array, y_F: Array, level: float) -> float:
    """The first x at which the curve, by straight lines, is at `level` or above; inf where it never is.

    reached([0, 1, 2], [0.2, 0.4, 0.8], 0.6) = 1.5.
    """
    before: tuple[float, float] | None = None
    for x, y in zip(x_F, y_F, strict=True):
        if y >= level:
            return float(x if before is None else before[0] + (x - before[0]) * (level - before[1]) / (y - before[1]))
        before = (x, y)
    return math.inf
