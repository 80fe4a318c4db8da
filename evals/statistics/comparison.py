"""Comparison of arms: differences with their standard errors, and one decision for every contrast of a family.

The unit is the training run.  Runs with the same seed share prompts and random numbers, so arms are compared in pairs.
Two scopes: over training seeds, for these problems (`paired`); over training seeds and problems (`crossed`), where the
outcome of every problem is known and the problems are a sample of those that are meant.

numpy and scipy only: a GPU machine that trains has them, but need not have statsmodels.

Shapes: S seeds, I items (problems), m contrasts of a family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np
from scipy import optimize, stats

from evals.statistics.estimates import LEVEL, MIN_SEEDS

MARGIN = 0.02  # of equivalence, in accuracy
POWER = 0.8

Scope = Literal["seeds", "seeds and problems"]


@dataclass(frozen=True)
class Paired:
    """A minus B, in pairs: its mean, and a t-statistic mean / stderr with `df` degrees of freedom.

    `why` says why there is no interval, and is empty if there is one.  `correlation` is that of the two arms over
    seeds: it shows how much variance the pairing removes (nan if an arm does not vary).
    """

    n: int  # seeds
    mean: float
    sd: float  # of the differences over seeds, with n - 1
    stderr: float
    df: float
    correlation: float
    why: str = ""
    scope: Scope = "seeds"
    problems: int = 0  # of the crossed scope
    problem_share: float = math.nan  # of the variance of the mean: what the choice of problems adds

    @property
    def p(self) -> float:
        """Two-sided, of mean 0, before any correction; nan without an interval."""
        return self.p_beyond(0.0)

    def p_beyond(self, margin: float) -> float:
        """Two-sided, of |true difference| <= margin: 2 P(T_df > (|mean| - margin) / stderr), at most 1."""
        if self.why:
            return math.nan
        if self.stderr == 0:
            return 1.0 if abs(self.mean) <= margin else 0.0
        return min(1.0, 2 * float(stats.t.sf((abs(self.mean) - margin) / self.stderr, self.df)))

    def p_within(self, margin: float) -> float:
        """Of |true difference| >= margin: twice the larger of the two one-sided tests (TOST), at most 1, so that it is
        below a exactly where the two-sided interval at level 1 - a lies within the margin."""
        if self.why or margin <= 0:
            return math.nan if self.why else 1.0
        if self.stderr == 0:
            return 0.0 if abs(self.mean) < margin else 1.0
        return min(1.0, 2 * float(stats.t.sf((margin - abs(self.mean)) / self.stderr, self.df)))

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """mean -+ t(df; (1 + level)/2) stderr."""
        if self.why:
            return None
        half = critical(level, self.df) * self.stderr if self.stderr else 0.0
        return self.mean - half, self.mean + half

    def detectable(self, level: float = LEVEL, power: float = POWER) -> float:
        """The smallest true difference that a test with this standard error would detect with probability `power`:
        delta with P(|T'| > t(df; (1 + level)/2)) = power, T' noncentral t with noncentrality delta / stderr.
        nan without an interval or without spread.

        Not by statsmodels' TTestPower: it calls scipy's nct, which returns nan for large noncentralities, and its
        search then ends at a wrong value without an error: for n = 3, level = 1 - 0.05/3 it gives 4.52 s, where 5.67 s
        has the power of 0.8.
        """
        if self.why or self.stderr == 0:
            return math.nan
        return self.stderr * shift_with_power(self.df, level, power)


@lru_cache(4096)
def critical(level: float, df: float) -> float:
    """t(df; (1 + level)/2)."""
    return float(stats.t.ppf((1 + level) / 2, df))


def power_at(shift: float, df: float, level: float = LEVEL) -> float:
    """P(|T'| > t(df; (1 + level)/2)), T' noncentral t with noncentrality `shift`: how often a two-sided test
    rejects."""
    # T' = (Z + shift) / c with c^2 ~ chi^2(df) / df: the mean over quantiles of c replaces the integral over c
    limit, c = critical(level, df), _quantiles(df)
    return float((stats.norm.sf(limit * c - shift) + stats.norm.cdf(-limit * c - shift)).mean())


@lru_cache(256)
def _quantiles(df: float) -> np.ndarray:
    """4,000 quantiles of c."""
    return np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, df) / df)


def shift_with_power(df: float, level: float = LEVEL, power: float = POWER) -> float:
    """The noncentrality at which a two-sided t-test with `df` degrees of freedom rejects with probability `power`."""
    return float(optimize.brentq(lambda x: power_at(x, df, level) - power, 0.0, 3 * critical(level, df) + 10))


def paired(a_S: Sequence[float] | np.ndarray, b_S: Sequence[float] | np.ndarray) -> Paired:
    """The paired t-test of two arms whose i-th entries have the same seed.

        t = mean(d) / (s / sqrt(n)),   d_i = a_i - b_i,   p = 2 P(T_{n-1} > |t|)

    paired([3, 5, 7], [1, 2, 3]) has mean 3, sd 1, t = 5.196, p = 0.0351.

    Degenerate cases, all without an error: fewer than MIN_SEEDS seeds, or differences that are all equal but not 0,
    have no interval (`why` gives the reason); differences that are all 0 (bitwise equal runs) have the interval 0 to 0
    and p = 1.  Raises ValueError on arrays of different lengths and on values that are not finite.
    """
    a, b = np.asarray(a_S, dtype=np.float64), np.asarray(b_S, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"pairs need as many values on both sides, not {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("pairs need finite values")
    n, d, nan = len(a), a - b, math.nan
    mean = float(d.mean()) if n else nan
    if n < MIN_SEEDS:
        return Paired(n, mean, nan, nan, nan, nan, f"{n} seed{'s' * (n != 1)}; at least {MIN_SEEDS} needed")
    correlation = float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else nan
    if np.ptp(d) <= 1e-12:  # equal but for rounding in the mean of 0/1 outcomes
        if abs(mean) <= 1e-12:
            return Paired(n, 0.0, 0.0, 0.0, n - 1, correlation)
        return Paired(n, mean, 0.0, nan, nan, correlation, "every seed differs by the same amount")
    sd = float(d.std(ddof=1))
    return Paired(n, mean, sd, sd / math.sqrt(n), n - 1, correlation)


def crossed(a_SI: np.ndarray, b_SI: np.ndarray) -> Paired:
    """A minus B where seeds and problems are both a sample, crossed: every seed answers every problem.

        d_si = a_si - b_si = mu + seed_s + problem_i + rest_si
        Var(mean) = (MS_seed + MS_problem - MS_rest) / (S I),         at least max(MS_seed, MS_problem) / (S I)
        df = (MS_seed + MS_problem - MS_rest)^2 / (MS_seed^2 / (S-1) + MS_problem^2 / (I-1) + MS_rest^2 / ((S-1)(I-1)))

    the mean squares of the two-way table and Satterthwaite's degrees of freedom (1946; Brennan 2001, Generalizability
    Theory, ch. 6).  Its coverage, and that of the interval over seeds alone, are on the page of `harness calibrate`.

    Degenerate cases as `paired`, whose mean it has; two problems at least.  Raises ValueError on different shapes.
    """
    if a_SI.shape != b_SI.shape or a_SI.ndim != 2 or a_SI.shape[1] < 2:
        raise ValueError(f"seeds x problems on both sides, two problems at least; not {a_SI.shape} and {b_SI.shape}")
    over_seeds = paired(a_SI.mean(1), b_SI.mean(1))
    n, items = a_SI.shape
    if n < MIN_SEEDS:
        return over_seeds
    d_SI = a_SI - b_SI
    if not d_SI.any():
        return over_seeds
    mean, seed_S, problem_I = d_SI.mean(), d_SI.mean(1), d_SI.mean(0)
    ms_seed = items * float(((seed_S - mean) ** 2).sum()) / (n - 1)
    ms_problem = n * float(((problem_I - mean) ** 2).sum()) / (items - 1)
    rest_SI = d_SI - seed_S[:, None] - problem_I + mean
    ms_rest = float((rest_SI**2).sum()) / ((n - 1) * (items - 1))
    total = max(ms_seed + ms_problem - ms_rest, ms_seed, ms_problem)
    spread = ms_seed**2 / (n - 1) + ms_problem**2 / (items - 1) + ms_rest**2 / ((n - 1) * (items - 1))
    if spread == 0:  # every problem differs by the same amount at every seed
        return over_seeds
    sd = float(seed_S.std(ddof=1))
    share = min(max(1 - ms_seed / total, 0.0), 1.0)
    scope: Scope = "seeds and problems"
    stderr, df = math.sqrt(total / (n * items)), total**2 / spread
    return Paired(n, float(mean), sd, stderr, df, over_seeds.correlation, "", scope, items, share)


# --- one decision for every contrast of a family ----------------------------------------------------------------

Kind = Literal["A better", "B better", "A ahead", "B ahead", "equivalent", "undecided", "identical", "no interval"]
BETTER = ("A better", "B better")
AHEAD = ("A ahead", "B ahead")


@dataclass(frozen=True)
class Comparison:
    """The decision on one contrast, corrected for all contrasts of the family."""

    kind: Kind
    pair: Paired
    p: float  # of mean 0, times the contrasts that were undecided when it was looked at; nan without an interval
    low: float  # of the interval at the level of the decision; nan without one
    high: float
    level: float  # of that interval
    family: int = 1  # contrasts that have an interval

    @property
    def detectable(self) -> float:
        """At the level of the interval; nan without one, or without spread."""
        return self.pair.detectable(self.level)


def compare_pairs(
    pairs: Sequence[Paired], margin: float | Sequence[float] = MARGIN, level: float = LEVEL
) -> list[Comparison]:
    """The comparisons of a family of m contrasts, each by its interval at level 1 - a/k, with a = 1 - `level`, and its
    margin (one for all, or one each):

    *A better*, *B better*: it excludes 0, and does not lie within -margin..margin.
    *A ahead*, *B ahead*: it excludes 0 and lies within the margin: a difference, and one that does not matter.
    *equivalent*: it contains 0 and lies within the margin.
    *undecided*: it contains 0 and a difference that matters.  *identical*: equal in every outcome.

    k comes from one step-down over all tests of the family (Holm 1979; Shaffer 1986).  Three null hypotheses stand for
    each contrast: the difference is 0; it is not within the margin; it is not beyond it.  From the smallest p upwards,
    each is rejected if p < a/k, k the contrasts that are not settled yet, until one is not.  A contrast is settled when
    it is shown to be beyond the margin, or within it and not 0: no test of it that could still be rejected wrongly is
    left.  So all words of the family together are free of error with probability `level`, and every word is what its
    interval says.
    """
    alpha, margins = 1 - level, np.broadcast_to(np.asarray(margin, float), len(pairs))
    tested = [(pair, float(m)) for pair, m in zip(pairs, margins, strict=True) if not pair.why]
    unsettled = _unsettled([pair for pair, _ in tested], np.array([m for _, m in tested]), alpha)
    each = 1 - alpha / max(unsettled, 1)
    decide = partial(_decide, each=each, k=max(unsettled, 1), family=len(tested))
    return [decide(pair, float(m)) for pair, m in zip(pairs, margins, strict=True)]


def _unsettled(pairs: Sequence[Paired], margins: np.ndarray, alpha: float) -> int:
    """k at the end of the step-down: the contrasts that are not settled, one at least where there is one."""
    spread = [i for i, pair in enumerate(pairs) if pair.stderr]  # the others' p are 0 or 1
    size, error, df = (np.array([getattr(pairs[i], name) for i in spread]) for name in ("mean", "stderr", "df"))
    margin = margins[spread]
    t_values = np.concatenate([abs(size), abs(size) - margin, margin - abs(size)]) / np.tile(error, 3)
    p_values = np.minimum(1, 2 * stats.t.sf(t_values, np.tile(df, 3)))
    named = [(i, name) for name in ("differs", "beyond", "within") for i in spread]
    tests = [(float(p), i, name) for p, (i, name) in zip(p_values, named, strict=False)]
    for i in (i for i, pair in enumerate(pairs) if not pair.stderr):
        pair = pairs[i]
        m = float(margins[i])
        tests += [(pair.p, i, "differs"), (pair.p_beyond(m), i, "beyond"), (pair.p_within(m), i, "within")]
    tests.sort()
    settled, shown, left = set[int](), [set[str]() for _ in pairs], len(pairs)
    for p, i, name in tests:
        if not p < alpha / max(left, 1):
            break
        shown[i].add(name)
        if i not in settled and ("beyond" in shown[i] or {"differs", "within"} <= shown[i]):
            settled.add(i)
            left = max(len(pairs) - len(settled), 1)
    return left


def _decide(pair: Paired, margin: float, each: float, k: int, family: int) -> Comparison:
    interval = pair.interval(each)
    if interval is None:
        return Comparison("no interval", pair, math.nan, math.nan, math.nan, each, family)
    low, high = interval
    within, kind = -margin < low and high < margin, "undecided"
    if pair.stderr == 0 and pair.mean == 0:
        kind = "identical"
    elif low > 0 or high < 0:
        kind = f"{'A' if low > 0 else 'B'} {'ahead' if within else 'better'}"
    elif within:
        kind = "equivalent"
    return Comparison(kind, pair, min(1.0, k * pair.p), low, high, each, family)  # type: ignore[arg-type]
