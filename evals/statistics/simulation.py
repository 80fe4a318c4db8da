"""Simulated runs with a known true difference: how often do the intervals of `evals.statistics.comparison` cover it?

Logit-normal runs: a run of arm X with seed s has one ability, which decides its answers on a fixed test set.

    a_Xs = mu_X + sigma (sqrt(rho) z_s + sqrt(1 - rho) e_Xs),      z_s, e_Xs ~ N(0, 1)
    hit_Xsi ~ Bernoulli(logistic(a_Xs + b_i)),                     accuracy_Xs = 1/I sum_i hit_Xsi

z_s is shared by the arms at a seed, so rho is the correlation of their abilities; b_i is the easiness of an item.
The estimand is an arm's mean accuracy over training seeds on this test set:

    E[accuracy_X] = E_a[1/I sum_i logistic(a + b_i)],              a ~ N(mu_X, sigma^2)

Shapes: T trials, S seeds, I items, Q nodes of quadrature, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from evals.statistics.comparison import AHEAD, BETTER, compare_pairs, paired
from evals.statistics.estimates import LEVEL, MIN_SEEDS

SIGMA = 0.5  # of the ability: on 1,000 items runs have an SD of 2.2, 8.9 and 2.2 points at 5, 50 and 95 % accuracy
SPREAD = 1.5  # SD of b: at an accuracy of 50 %, a sixth of the items are answered correctly less than 18 % of the time
NODES = 64  # Gauss-Hermite nodes, more than enough for a logistic function over a normal with SD 0.5
CHUNK = 2**18  # outcomes drawn at once: a megabyte per array
RESAMPLES = 1000

Intervals = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # of differences [T, S]: the ends [T] and [T]


# --- the truth --------------------------------------------------------------------------------------------------


def easiness(items: int) -> np.ndarray:
    """b_I ~ N(0, SPREAD^2): the fixed test set of that size, the same for all arms, seeds, trials and settings."""
    return SPREAD * np.random.default_rng(items).standard_normal(items)


def truth(mu: float, b_I: np.ndarray, sigma: float = SIGMA) -> tuple[float, float]:
    """Mean and SD of a run's accuracy over seeds, by Gauss-Hermite quadrature over the ability.

        E = sum_q w_q m_q,   Var = sum_q w_q (m_q - E)^2 + sum_q w_q 1/I^2 sum_i p_qi (1 - p_qi)
        p_qi = logistic(mu + sigma x_q + b_i),   m_q = 1/I sum_i p_qi

    The two parts of Var come from seeds and from sampled answers.  sigma = 0 and one item with b = 0 give
    E = logistic(mu), Var = E (1 - E).
    """
    x_Q, w_Q = np.polynomial.hermite_e.hermegauss(NODES)
    w_Q = w_Q / w_Q.sum()
    p_QI = special.expit(mu + sigma * x_Q[:, None] + b_I)
    m_Q = p_QI.mean(1)
    mean = w_Q @ m_Q
    variance = w_Q @ (m_Q - mean) ** 2 + w_Q @ (p_QI * (1 - p_QI)).mean(1) / len(b_I)
    return float(mean), math.sqrt(variance)


def solve_mu(accuracy: float, b_I: np.ndarray, sigma: float = SIGMA) -> float:
    """The mu with E[accuracy] = `accuracy`, by root finding.  Raises ValueError unless 0 < accuracy < 1."""
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy must lie between 0 and 1, not {accuracy}")
    bound = abs(float(special.logit(accuracy))) + float(np.abs(b_I).max()) + 10 * sigma + 1  # beyond every ability
    return float(optimize.brentq(lambda mu: truth(mu, b_I, sigma)[0] - accuracy, -bound, bound))


# --- drawing ----------------------------------------------------------------------------------------------------


def abilities(
    mu: tuple[float, float], correlation: float, shape: tuple[int, int], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """a_Xs of both arms, each [T, S] (`shape`).  With a correlation of 1 the arms differ only by mu."""
    shared_TS, own = math.sqrt(correlation) * generator.standard_normal(shape), math.sqrt(1 - correlation)
    a_TS, b_TS = (m + SIGMA * (shared_TS + own * generator.standard_normal(shape)) for m in mu)
    return a_TS, b_TS


def accuracies(ability_TS: np.ndarray, b_I: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The accuracy of each run [T, S], from one Bernoulli draw per item.

    An answer is correct if u < logistic(a + b) = 1 / (1 + e^-a e^-b), that is if u (1 + e^-a e^-b) < 1: one exponential
    per run and one per item.  float32 changes a probability by less than 1e-6.
    """
    against_N, against_I = (np.exp(-x).astype(np.float32) for x in (ability_TS.ravel(), b_I))
    right_N = np.empty(against_N.size)
    rows = max(1, CHUNK // against_I.size)
    for start in range(0, against_N.size, rows):
        u_NI = np.multiply.outer(against_N[start : start + rows], against_I) + np.float32(1)
        u_NI *= generator.random(u_NI.shape, dtype=np.float32)
        right_N[start : start + rows] = np.count_nonzero(u_NI < 1, axis=1)
    return right_N.reshape(ability_TS.shape) / against_I.size


@dataclass(frozen=True)
class Setting:
    """Two arms on one test set: B has the mean accuracy `accuracy`, A has `accuracy` + `difference`."""

    items: int
    seeds: int
    accuracy: float
    correlation: float = 0.0
    difference: float = 0.0

    def draw(self, trials: int) -> tuple[np.ndarray, np.ndarray]:
        """Accuracies of A and of B, each [T, S].  The setting is the generator's seed."""
        shares = (self.accuracy, self.correlation, self.difference)
        generator = np.random.default_rng([self.items, self.seeds, *(round(1e6 * (1 + x)) for x in shares)])
        b_I = easiness(self.items)
        mu = solve_mu(self.accuracy + self.difference, b_I), solve_mu(self.accuracy, b_I)
        both = abilities(mu, self.correlation, (trials, self.seeds), generator)
        a_TS, b_TS = (accuracies(ability_TS, b_I, generator) for ability_TS in both)
        return a_TS, b_TS


# --- how often it is right --------------------------------------------------------------------------------------


def t_intervals(d_TS: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """`Paired.interval` for every row of differences at once: mean -+ t(S-1; (1 + level)/2) s / sqrt(S).

    Rows whose differences are all equal go through `paired`; nan where it gives no interval.  Raises ValueError with
    fewer than MIN_SEEDS seeds.
    """
    seeds = d_TS.shape[1]
    if seeds < MIN_SEEDS:
        raise ValueError(f"seeds: at least {MIN_SEEDS}, not {seeds}")
    half_T = stats.t.ppf((1 + level) / 2, seeds - 1) * d_TS.std(1, ddof=1) / math.sqrt(seeds)
    low_T, high_T = d_TS.mean(1) - half_T, d_TS.mean(1) + half_T
    for t in np.flatnonzero(np.ptp(d_TS, 1) < 1e-9):
        low_T[t], high_T[t] = paired(d_TS[t], np.zeros(seeds)).interval(level) or (math.nan, math.nan)
    return low_T, high_T


def bootstrap_intervals(d_TS: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap over seeds, for contrast: quantiles of means of S differences drawn with replacement.

    It is too narrow: its SD is sqrt((S-1)/S) of the correct one, and its tails are normal instead of t.  On normal data
    it covers about 74, 83 and 89 % with 3, 5 and 10 seeds instead of 95 %.  All rows share the resamples, which
    have a fixed seed.
    """
    seeds = d_TS.shape[1]
    u_BS = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    low_T, high_T = np.quantile(d_TS @ u_BS.T / seeds, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low_T, high_T


@dataclass(frozen=True)
class Coverage:
    """Fractions of trials.  A trial without an interval is neither covered nor separated."""

    covered: float  # the interval contains the true difference
    separated: float  # it excludes 0: the false-positive rate if the true difference is 0, else the power
    without: float  # there is no interval


def coverage(setting: Setting, trials: int, intervals: Intervals = t_intervals) -> Coverage:
    """Coverage of the intervals over simulated trials of a setting.

    A fraction p of T trials has a standard error of sqrt(p (1 - p) / T): 0.2 points for 95 % of 10,000.
    """
    a_TS, b_TS = setting.draw(trials)
    low_T, high_T = intervals(a_TS - b_TS)
    covered_T = (low_T <= setting.difference) & (setting.difference <= high_T)
    separated_T = (low_T > 0) | (high_T < 0)
    return Coverage(float(covered_T.mean()), float(separated_T.mean()), float(np.isnan(low_T).mean()))


# --- real runs --------------------------------------------------------------------------------------------------


def random_arms(
    values_S: np.ndarray, n: int, trials: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The runs of one arm split at random into two arms of n runs, T times: 2n different runs per trial.

    Raises ValueError where there are fewer than 2n runs.
    """
    if 2 * n > len(values_S):
        raise ValueError(f"two arms of {n} need {2 * n} runs, not {len(values_S)}")
    shuffled_TS = generator.permuted(np.tile(np.asarray(values_S, dtype=np.float64), (trials, 1)), axis=1)
    return shuffled_TS[:, :n], shuffled_TS[:, n : 2 * n]


def fraction_separated(a_TS: np.ndarray, b_TS: np.ndarray) -> float:
    """The fraction of trials in which `compare_pairs`, with a family of one pair, separates the arms."""
    comparisons = [compare_pairs([paired(a_S, b_S)])[0] for a_S, b_S in zip(a_TS, b_TS, strict=True)]
    return sum(c.kind in (*BETTER, *AHEAD) for c in comparisons) / len(comparisons)
