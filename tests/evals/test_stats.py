from __future__ import annotations

import math

import numpy as np
import pytest

from evals.stats import mean_stderr, wilson
from tests.helpers import close


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (57, 300), (999, 1000)])
def test_wilson_is_scipys(successes: int, n: int, level: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    close(wilson(successes, n, level), (theirs.low, theirs.high), rtol=0, atol=1e-12)


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
