"""Crossings and costs by hand, against a fine grid, and against resamples drawn one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

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
    got = crossover([0.5, 1], np.array([[-1.0, 1.0]]), np.zeros((1, 2)), np.random.default_rng(4), 10)
    assert (got.at, got.none) == (0.75, 0)


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


def test_crossover_draws_pairs_of_seeds() -> None:
    """Against a loop over the same draws; what a seed adds to both arms is not noise."""
    seeds, resamples = 4, 300
    noise = np.random.default_rng(5).normal(0, 0.4, (2, seeds, len(POINTS)))
    a_SF, b_SF = noise[0] + 0.2 * (POINTS - 1), noise[1]
    drawn_BS = np.random.default_rng(3).integers(0, seeds, (resamples, seeds))
    places = [last_crossing(POINTS, sum(a_SF[s] - b_SF[s] for s in drawn_S) / seeds) for drawn_S in drawn_BS]
    crossed = sorted(p for p in places if p is not None)
    assert 0.01 < 1 - len(crossed) / resamples < 0.99

    shared_S1 = 100 * np.arange(seeds)[:, None]
    for shift in (0, shared_S1):
        got = crossover(POINTS, a_SF + shift, b_SF + shift, np.random.default_rng(3), resamples)
        close(got.at, last_crossing(POINTS, (a_SF - b_SF).mean(0)))
        close((got.low, got.high), np.quantile(crossed, [0.025, 0.975]))
        close(got.none, 1 - len(crossed) / resamples)


def test_crossover_by_hand() -> None:
    x_F, b_SF = [0, 1, 2], np.zeros((2, 3))
    # One seed crosses, the other does not, nor does their mean: of four equally likely draws of two, one does.
    got = crossover(x_F, np.array([[0, -1, 1], [0, 2, 1]]), b_SF, np.random.default_rng(4), 4000)
    assert (got.at, got.low, got.high) == (None, 1.5, 1.5)
    assert abs(got.none - 3 / 4) < 4 * math.sqrt(3 / 16 / 4000)
    never = crossover(x_F, np.array([[0, 2, 1], [0, 2, 1]]), b_SF, np.random.default_rng(4), 10)
    assert (never.at, never.low, never.high, never.none) == (None, None, None, 1)
    # One seed has nothing to draw from.
    alone = crossover(x_F, np.array([[0, -1, 1]]), b_SF[:1], np.random.default_rng(4), 10)
    assert (alone.at, alone.low, alone.high, alone.none) == (1.5, 1.5, 1.5, 0)


def test_arms_that_are_level_do_not_cross_by_rounding() -> None:
    # At 2 the seeds' differences are 0.1 and -0.1, in floats 0.3 - 0.2 and 0.1 - 0.2: their mean is -1e-17.
    a_SF, b_SF = np.array([[0.2, 0.3, 0.3, 0.4], [0.2, 0.3, 0.1, 0.4]]), np.full((2, 4), 0.2)
    assert (a_SF - b_SF).mean(0)[2] < 0
    got = crossover([0, 1, 2, 3], a_SF, b_SF, np.random.default_rng(5), 1000)
    assert got.at is None
    # Of the four draws of two seeds one does cross: the second seed twice, back up from -0.1 at 2 to 0.2 at 3.
    close((got.low, got.high), (2 + 1 / 3, 2 + 1 / 3))
    assert abs(got.none - 3 / 4) < 4 * math.sqrt(3 / 16 / 1000)


@pytest.mark.parametrize(("seeds", "points", "x"), [(0, 3, 3), (2, 2, 2), (2, 4, 3), (2, 3, 4)])
def test_crossover_refuses(seeds: int, points: int, x: int) -> None:
    with pytest.raises(ValueError, match="two points after the start"):
        crossover(range(x), np.ones((seeds, points)), np.zeros((seeds, points)), np.random.default_rng(0))


def test_curves_have_a_value_at_every_point() -> None:
    for wrong in (lambda: last_crossing([0, 1], [1.0]), lambda: reached([0, 1], [0.1], 0.5)):
        with pytest.raises(ValueError):
            wrong()
