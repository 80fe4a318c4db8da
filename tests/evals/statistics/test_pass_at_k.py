"""pass@k and maj@k against the enumeration of all k-subsets, and against what they estimate."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations, product

import pytest

from evals.statistics.pass_at_k import maj_at_k, pass_at_k
from tests.helpers import close


def share(votes: tuple[str | None, ...], gold: str) -> float:
    """What `gold` gets of one vote: 1 if it is the most frequent answer, 1/ties if one of those, else 0."""
    counts = Counter(v for v in votes if v is not None)
    first = [answer for answer, count in counts.items() if count == max(counts.values())]
    return 1 / len(first) if gold in first else 0.0


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets(n: int) -> None:
    for correct in range(n + 1):
        right = [i < correct for i in range(n)]
        for k in range(1, n + 1):
            close(pass_at_k(n, correct, k), mean([float(any(subset)) for subset in combinations(right, k)]))


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(4, 1, 2) == 0.5  # 3 of the 6 pairs have the one that is right
    assert pass_at_k(10, 3, 8) == 1  # 8 samples cannot all be among 7 wrong ones
    assert pass_at_k(5000, 1, 2500) == 0.5  # binomials of 1500 digits


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_pass_at_k_has_no_bias(k: int, p: float) -> None:
    expected = sum(math.comb(8, c) * p**c * (1 - p) ** (8 - c) * pass_at_k(8, c, k) for c in range(9))
    close(expected, 1 - (1 - p) ** k)


def test_maj_at_k_is_the_mean_over_subsets() -> None:
    rng = random.Random(0)
    for _ in range(150):
        votes = rng.choices(["8", "9", "10", "11", None], weights=[rng.random() for _ in range(5)], k=rng.randint(1, 9))
        for k in range(1, len(votes) + 1):
            close(maj_at_k(votes, "8", k), mean([share(subset, "8") for subset in combinations(votes, k)]))


def test_maj_at_k_by_hand() -> None:
    close(maj_at_k(["8", "8", "9"], "8", 2), (1 + 1 / 2 + 1 / 2) / 3)
    assert maj_at_k(["8", "9", "10", "8"], "8", 1) == 0.5
    assert maj_at_k(["8", None, None], "8", 3) == 1  # no answer is no rival,
    close(maj_at_k(["8", None, None], "8", 2), 2 / 3)  # but it is drawn: one pair of three has no answer at all
    close(maj_at_k(["8", "9", "10", None], "8", 4), 1 / 3)
    assert maj_at_k(["9", None], "8", 2) == 0
    assert maj_at_k([None], "8", 1) == 0


def test_answers_share_the_vote() -> None:
    # Somebody wins wherever anyone answers: the chances add up to 1 - C(blank, k) / C(n, k).
    rng = random.Random(1)
    votes = rng.choices(["8", "9", "10", None, None], k=24)
    for k in (1, 2, 5, 12, 24):
        blank = math.comb(votes.count(None), k) / math.comb(24, k)
        close(sum(maj_at_k(votes, answer, k) for answer in ("8", "9", "10")), 1 - blank)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_maj_at_k_has_no_bias(k: int) -> None:
    chance = {"8": 0.4, "9": 0.3, "10": 0.2, None: 0.1}

    def expected(samples: int, figure) -> float:
        return sum(math.prod(chance[v] for v in votes) * figure(votes) for votes in product(chance, repeat=samples))

    close(expected(5, lambda votes: maj_at_k(votes, "8", k)), expected(k, lambda votes: share(votes, "8")))


@pytest.mark.parametrize(("n", "k"), [(3, 0), (3, 4), (0, 1), (0, 0), (3, -1)])
def test_k_lies_within_the_samples(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="k must lie in 1..n"):
        pass_at_k(n, 0, k)
    with pytest.raises(ValueError, match="k must lie in 1..n"):
        maj_at_k(["8"] * n, "8", k)


@pytest.mark.parametrize("correct", [-1, 4])
def test_correct_lies_within_the_samples(correct: int) -> None:
    with pytest.raises(ValueError, match="correct must lie in 0..n"):
        pass_at_k(3, correct, 1)
