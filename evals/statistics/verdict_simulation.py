"""Simulated studies with a known truth: how often are the words of a report wrong?

Three kinds, each the reason for one choice in `comparison.py` and `learning_curves.py`:

    problems   arms that solve problems of their own: the interval over seeds and problems, against that over seeds
    families   several arms, alike, apart or at the margin: any false word of a family; claims contradicted though true
    crossings  curves that cross at a known place

Shapes: T trials, S seeds, I items (problems), A arms, F points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from evals.statistics.comparison import AHEAD, BETTER, MARGIN, Comparison, compare_pairs, crossed, paired
from evals.statistics.learning_curves import crossover

SPREAD = 1.5  # SD of the easiness of a problem, in logits
SHAPES = ("normal", "skewed", "near the ceiling", "collapsing")  # of an arm's runs around its mean
COLLAPSING = 0.1  # share of an arm's runs that collapse


@dataclass(frozen=True)
class Covered:
    """Shares of trials in which an interval holds the truth."""

    crossed: float
    seeds_alone: float


def problems(seeds: int, items: int, sigma: float, own: float, trials: int) -> Covered:
    """Two arms of equal mean accuracy over seeds and problems.  `sigma`: SD of a run's ability; `own`: SD of how much
    easier a problem is to one arm than to the other, both in logits.

        hit_Xsi ~ Bernoulli(logistic(a_Xs + b_i + c_Xi)),     a ~ N(0, sigma^2), b ~ N(0, SPREAD^2), c ~ N(0, own^2)
    """
    generator, covered = np.random.default_rng([seeds, items, round(100 * sigma), round(100 * own)]), np.zeros(2)
    for _ in range(trials):
        easy_I = SPREAD * generator.standard_normal(items)
        hits = []
        for _ in range(2):
            ability_SI = sigma * generator.standard_normal((seeds, 1)) + easy_I + own * generator.standard_normal(items)
            hits.append((generator.random((seeds, items)) < special.expit(ability_SI)).astype(np.float64))
        for k, d in enumerate((crossed(*hits), paired(hits[0].mean(1), hits[1].mean(1)))):
            low, high = d.interval() or (1.0, -1.0)
            covered[k] += low <= 0 <= high
    return Covered(*(covered / trials).tolist())


def runs(means_A: Sequence[float], seeds: int, sd: float, shape: str, generator: np.random.Generator) -> np.ndarray:
    """Accuracies [A, S] with these means.  skewed: lognormal around it; near the ceiling: cut off at 1, the mean kept;
    collapsing: one run in ten of the last arm falls to 0.1 (its mean is then lower)."""
    means_A1, noise_AS = np.asarray(means_A)[:, None], generator.standard_normal((len(means_A), seeds))
    if shape == "skewed":
        noise_AS = (np.exp(noise_AS) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    values_AS = means_A1 + sd * noise_AS
    if shape == "near the ceiling":
        beta = means_A1 * (means_A1 * (1 - means_A1) / sd**2 - 1)
        values_AS = generator.beta(beta, beta * (1 - means_A1) / means_A1, (len(means_A), seeds))
    if shape == "collapsing":
        values_AS[-1] = np.where(generator.random(seeds) < COLLAPSING, 0.1, values_AS[-1])
    return values_AS


def false_word(c: Comparison, truth: float, margin: float = MARGIN) -> bool:
    """Is what a comparison says wrong of this true difference?"""
    if c.kind in (*BETTER, *AHEAD) and truth * (1 if c.kind[0] == "A" else -1) <= 0:
        return True
    if c.kind in ("equivalent", *AHEAD) and abs(truth) >= margin:
        return True
    return (c.low > margin and truth <= margin) or (c.high < -margin and truth >= -margin)


@dataclass(frozen=True)
class Errors:
    """Shares of simulated studies."""

    false: float  # with any false word
    refuted: float  # in which a true claim of likeness (|d| <= margin) is contradicted


def families(means_A: Sequence[float], seeds: int, sd: float, shape: str, trials: int) -> Errors:
    """All pairs of these arms, one family.  With "collapsing" the truth is that of the runs as they come, collapses
    included."""
    generator = np.random.default_rng([len(means_A), seeds, SHAPES.index(shape), round(1e6 * sum(means_A))])
    true_A = list(means_A)
    if shape == "collapsing":
        true_A[-1] = (1 - COLLAPSING) * true_A[-1] + COLLAPSING * 0.1
    truths = [a - b for a, b in combinations(true_A, 2)]
    false = refuted = 0
    for _ in range(trials):
        values_AS = runs(means_A, seeds, sd, shape, generator)
        compared = compare_pairs([paired(a_S, b_S) for a_S, b_S in combinations(values_AS, 2)])
        pairs = list(zip(compared, truths, strict=True))
        false += any(false_word(c, t) for c, t in pairs)
        refuted += any(abs(t) <= MARGIN and (c.low > MARGIN or c.high < -MARGIN) for c, t in pairs)
    return Errors(false / trials, refuted / trials)


def crossings(seeds: int, slope: float, trials: int, at: float = 0.55) -> float:
    """How often the interval of a crossover holds the place where the true curves cross.  Runs differ by 2 points in
    level and 1.5 from point to point; `slope` in accuracy over the whole budget."""
    generator, x_F, covered = np.random.default_rng([seeds, round(100 * slope)]), np.linspace(0, 1, 9), 0
    for _ in range(trials):
        noise = 0.02 * generator.standard_normal((seeds, 1)) + 0.015 * generator.standard_normal((seeds, len(x_F)))
        d_SF = np.where(x_F > 0, slope * (x_F - at) + noise, 0)
        found = crossover(x_F, d_SF, np.zeros_like(d_SF))
        covered += found.low is not None and found.high is not None and found.low <= at <= found.high
    return covered / trials
