"""Unbiased pass@k and maj@k from n samples per problem.  Exact counting, no randomness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction
from math import comb


def _check(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k must lie in 1..n, not {k} of {n}")


def pass_at_k(n: int, correct: int, k: int) -> float:
    """P(at least one of k samples is correct), estimated from n of which `correct` are (Chen et al. 2021, 2107.03374).

        1 - C(n - c, k) / C(n, k)

    the fraction of all k-subsets with a correct sample, hence unbiased.  pass_at_k(4, 1, 2) = 0.5.  Its variance is
    small only if n is well above k: reports use n >= 2 k.  Raises ValueError unless 1 <= k <= n.
    """
    _check(n, k)
    if not 0 <= correct <= n:
        raise ValueError(f"correct must lie in 0..n, not {correct} of {n}")
    return 1 - comb(n - correct, k) / comb(n, k)


def maj_at_k(votes: Sequence[Hashable | None], gold: Hashable, k: int) -> float:
    """P(the most frequent answer of k samples is `gold`), ties broken uniformly at random: the mean over all k-subsets.

    None (no answer) is a sample without a vote.  maj_at_k(["8", "8", "9"], "8", 2) = (1 + 1/2 + 1/2) / 3.
    k = 1 is the fraction of `gold`.  Raises ValueError unless 1 <= k <= n.

    Exact: with j votes for gold, the other k - j samples have at most j votes for any one answer; `ways[used, ties]`
    counts these selections, one answer at a time.
    """
    _check(len(votes), k)
    counts = Counter(votes)
    golden, blank = counts.pop(gold, 0), counts.pop(None, 0)
    total = Fraction(0)
    for j in range(1, min(golden, k) + 1):
        ways = {(i, 0): comb(blank, i) for i in range(min(blank, k - j) + 1)}
        for rival in counts.values():
            grown: dict[tuple[int, int], int] = {}
            for (used, ties), w in ways.items():
                for i in range(min(rival, j, k - j - used) + 1):
                    place = (used + i, ties + (i == j))
                    grown[place] = grown.get(place, 0) + w * comb(rival, i)
            ways = grown
        won = sum((Fraction(w, ties + 1) for (used, ties), w in ways.items() if used == k - j), Fraction(0))
        total += comb(golden, j) * won
    return float(total / comb(len(votes), k))
