"""Crossings and costs by hand and against a fine grid; how often the interval of a crossing holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from evals.statistics.learning_curves import crossover, last_crossing, reached
from tests.helpers import close

POINTS = np.array([0.0, 0.5, 1.0, 2.0, 2.5, 4.0])


@pytest.mark.parametrize(
    ("d_F", "at"),
    [
        ([0, -1, 1, 2], 1.5),  # from -1 at 1 to 1 at 2
        ([0, -1, 3, 2], 1.25),  # 1/4 of the way
        ([0, 1, -3, 2], 2.6),  # of two crossings the last: from -3 at 2 to 2 at 3, 3/5 of the way
        ([-1, 1, 2, 3], None),  # the start does not count
        ([0, 1, 1, 1], None),
        ([0, 0, 0, 0], None),
        # A point that is 0 has the sign of the one before it:
        ([0, 1, 0, 1], None),  # touched, not crossed
        ([0, 0, 0, 1], None),  # no sign before it
        ([0, 0, -1, 1], 2.5),
        ([0, 2, -1, 0], 5 / 3),  # -1 at 2, -0 at 3: from 2 at 1 to -1 at 2, 2/3 of the way
        ([0, -1, 0, 1], 2),
        ([0, -1, 0, 3], 2),  # the line is 0 at 2 and nowhere else
    ],
)
def test_last_crossing(d_F: list[float], at: float | None) -> None:
    close(last_crossing([0, 1, 2, 3], d_F), at)
    close(last_crossing([0, 1, 2, 3], [-d for d in d_F]), at)


def test_last_crossing_leaves_a_zero_after_standing_there() -> None:
    close(last_crossing([0, 1, 2, 3, 4], [0, -1, 0, 0, 3]), 3)


def test_without_the_start_every_point_counts() -> None:
    close(last_crossing([0.25, 0.5, 0.75, 1], [-1, 1, 2, 3]), 0.375)
    assert crossover([0.5, 1], np.array([[-1.0, 1.0]]), np.zeros((1, 2))).at == 0.75


def test_last_crossing_on_a_grid() -> None:
    generator, grid = np.random.default_rng(0), np.linspace(POINTS[1], POINTS[-1], 70_001)
    crossed = 0
    for _ in range(200):
        d_F = generator.normal(generator.choice([0, 0.7]), 1, len(POINTS))
        change = np.flatnonzero(np.diff(np.interp(grid, POINTS, d_F) > 0))
        close(last_crossing(POINTS, d_F), grid[change[-1]] if len(change) else None, atol=1e-4)
        crossed += len(change) > 0
    assert 0 < crossed < 200


def test_reached() -> None:
    close(reached([0, 1, 2], [0.2, 0.4, 0.8], 0.6), 1.5)
    close(reached([0, 1, 2, 3], [0.2, 0.6, 0.2, 0.6], 0.4), 0.5)  # the first time, though it is lost again
    assert reached([0, 1, 2], [0.2, 0.4, 0.8], 0.4) == 1 and reached([0, 1, 2], [0.2, 0.4, 0.8], 0.8) == 2
    assert reached([0.5, 1], [0.2, 0.4], 0.2) == reached([0.5, 1], [0.2, 0.4], 0.1) == 0.5  # from the start
    assert reached([0, 1, 2], [0.2, 0.4, 0.8], 0.81) == reached([], [], 0.0) == math.inf


def test_reached_on_a_grid() -> None:
    generator, grid = np.random.default_rng(1), np.linspace(POINTS[0], POINTS[-1], 80_001)
    never = 0
    for _ in range(200):
        y_F, level = generator.random(len(POINTS)), generator.uniform(0.2, 1)
        at_level = np.flatnonzero(np.interp(grid, POINTS, y_F) >= level)
        close(reached(POINTS, y_F, level), grid[at_level[0]] if len(at_level) else math.inf, atol=1e-4)
        never += not len(at_level)
    assert 0 < never < 200


def test_crossover_inverts_the_paired_interval() -> None:
    """Against scipy's test at each place of a grid; what a seed adds to both arms is not noise."""
    seeds, grid = 4, np.linspace(POINTS[1], POINTS[-1], 701)
    noise = np.random.default_rng(5).normal(0, 0.2, (2, seeds, len(POINTS)))
    a_SF, b_SF = noise[0] + 0.4 * (POINTS - 1.4), noise[1]
    d_SX = np.stack([np.interp(grid, POINTS[1:], d_F) for d_F in (a_SF - b_SF)[:, 1:]])
    inside = grid[stats.ttest_1samp(d_SX, 0).pvalue >= 0.05]
    assert 100 < len(inside) < 600
    for shift in (0, 100 * np.arange(seeds)[:, None]):
        got = crossover(POINTS, a_SF + shift, b_SF + shift)
        close(got.at, last_crossing(POINTS, (a_SF - b_SF).mean(0)))
        assert abs(got.low - inside[0]) < 0.01 and abs(got.high - inside[-1]) < 0.01  # each on a grid of its own
        assert got.ends_open == (inside[-1] == POINTS[-1])


def test_crossover_by_hand() -> None:
    x_F, zeros = [0, 1, 2], np.zeros((3, 3))
    # All seeds cross at 1.5, where alone their difference has no spread.
    got = crossover(x_F, np.array([[0, -1, 1]] * 3), zeros)
    assert (got.at, got.low, got.high, got.ends_open) == (1.5, 1.5, 1.5, False)
    never = crossover(x_F, np.array([[0, 2, 1], [0, 2.1, 1], [0, 2, 1.1]]), zeros)
    assert (never.at, never.low, never.high, never.ends_open) == (None, None, None, False)
    # Not separated anywhere: it may be anywhere, or later.
    noisy = crossover(x_F, np.array([[0, -1, 1], [0, 2, 1], [0, 1, -3]]), zeros)
    assert (noisy.low, noisy.high, noisy.ends_open) == (1, 2, True)
    few = crossover(x_F, np.array([[0, -1, 1]] * 2), zeros[:2])
    assert (few.at, few.low, few.high) == (1.5, None, None)


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_of_a_crossing_covers(seeds: int) -> None:
    """Where the true curves cross at 0.55; runs differ in level and from point to point."""
    generator, trials, x_F, covered = np.random.default_rng(7), 300, np.linspace(0, 1, 9), 0
    for _ in range(trials):
        noise = 0.02 * generator.standard_normal((seeds, 1)) + 0.015 * generator.standard_normal((seeds, len(x_F)))
        d_SF = np.where(x_F > 0, 0.15 * (x_F - 0.55) + noise, 0)
        got = crossover(x_F, d_SF, np.zeros_like(d_SF))
        covered += got.low is not None and got.high is not None and got.low <= 0.55 <= got.high
    assert covered >= trials - stats.binom.ppf(1 - 1e-4, trials, 0.06)


def test_arms_that_are_level_do_not_cross_by_rounding() -> None:
    # At 2 the seeds' differences are 0.1 and -0.1, in floats 0.3 - 0.2 and 0.1 - 0.2: their mean is -1e-17.
    a_SF, b_SF = np.array([[0.2, 0.3, 0.3, 0.4], [0.2, 0.3, 0.1, 0.4]]), np.full((2, 4), 0.2)
    assert (a_SF - b_SF).mean(0)[2] < 0
    assert crossover([0, 1, 2, 3], a_SF, b_SF).at is None


@pytest.mark.parametrize(("seeds", "points", "x"), [(0, 3, 3), (2, 2, 2), (2, 4, 3), (2, 3, 4)])
def test_crossover_refuses(seeds: int, points: int, x: int) -> None:
    with pytest.raises(ValueError, match="two points after the start"):
        crossover(range(x), np.ones((seeds, points)), np.zeros((seeds, points)))


def test_curves_have_a_value_at_every_point() -> None:
    for wrong in (lambda: last_crossing([0, 1], [1.0]), lambda: reached([0, 1], [0.1], 0.5)):
        with pytest.raises(ValueError):
            wrong()
