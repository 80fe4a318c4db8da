from __future__ import annotations

import math

import numpy as np
import pytest

from evals.stats import mean_stderr, wilson


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (57, 300), (999, 1000)])
def test_wilson_is_scipys(successes: int, n: int, level: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_by_hand() -> None:
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=5e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == 0.0 and wilson(5, 5)[1] == 1.0


@pytest.mark.parametrize("wrong", [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0)])
def test_wilson_refuses(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must lie"):
        wilson(*wrong)


def test_mean_stderr() -> None:
    values = np.random.default_rng(0).normal(size=17)
    mean, stderr = mean_stderr(values)
    assert mean == pytest.approx(sum(values) / 17)
    assert stderr == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in values) / 16) / math.sqrt(17))
    assert mean_stderr([1.0, 0.0, 1.0, 1.0]) == pytest.approx((0.75, math.sqrt(0.75 * 0.25 / 3)))
    assert mean_stderr([2.0])[0] == 2.0 and math.isnan(mean_stderr([2.0])[1])
    assert all(math.isnan(x) for x in mean_stderr([]))
