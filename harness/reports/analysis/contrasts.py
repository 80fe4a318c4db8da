"""The differences that a study asks about, and one decision for each of them.

A contrast is a difference between two arms, or between an arm and its own start, on one evaluation set, metric and
fraction of the budget.  Pairs of arms and claims that ask for the same contrast share it: it is measured once and
decided once.  Contrasts between arms are one family; those of an arm with its own start are another.  What was asked
after runs had ended (post hoc) moves no word of these, and is itself decided as one more of all contrasts.

Where the outcomes of every problem were kept, a difference is over seeds and problems; else, and for a benchmark whose
problems are all that is meant (`report.problems = "fixed"`), it is over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from evals.statistics.comparison import Comparison, Paired, compare_pairs, crossed, paired
from harness.reports.analysis import interpolation
from harness.reports.loading import Key, Results
from harness.studies.schema import START, Hypothesis

Place = tuple[str, str, float]  # evaluation set, metric, fraction of the budget


@dataclass(frozen=True)
class Contrast:
    """A - B.  `start`: of an arm with its own start (B is START), or along its own curve."""

    a: str
    b: str
    place: Place
    shape: str = "difference"  # or how else the values of one or two arms are combined: gain, slows, gap_closes
    since: float = 0.0
    post_hoc: bool = False

    @property
    def own_start(self) -> bool:
        return self.b in (START, "")

    @property
    def family(self) -> str:
        return "post hoc" if self.post_hoc else "own start" if self.own_start else "arms"

    def key(self) -> tuple[object, ...]:
        """Equal for the same question, whichever arm is named first."""
        symmetric = self.shape == "difference" and not self.own_start
        arms = tuple(sorted((self.a, self.b))) if symmetric else (self.a, self.b)
        return arms, self.place, self.shape, self.since


def of_claim(h: Hypothesis, task: str) -> Contrast:
    """The contrast that a claim asks for."""
    place = (task, h.metric, h.at)
    if h.expect in ("gain", "slows"):
        return Contrast(h.arms[0], "", place, h.expect, h.since, h.post_hoc)
    shape = "gap_closes" if h.expect == "gap_closes" else "difference"
    return Contrast(h.arms[0], h.arms[-1], place, shape, 0.0, h.post_hoc)


@dataclass
class Decisions:
    """Contrasts -> comparisons, each family by itself.  Outcomes are read once."""

    results: Results
    margin: float  # in accuracy
    _hits: dict[tuple[str, str, float], dict[int, np.ndarray]] = field(default_factory=dict)
    _measured: dict[tuple[object, ...], Paired] = field(default_factory=dict)
    _decided: dict[tuple[object, ...], tuple[Contrast, Comparison]] = field(default_factory=dict)

    def decide(self, contrasts: Iterable[Contrast]) -> None:
        """Measure and decide them all; a contrast that was locked and is also asked post hoc is a locked one."""
        unique: dict[tuple[object, ...], Contrast] = {}
        for contrast in contrasts:
            before = unique.get(contrast.key())
            if before is None or (before.post_hoc and not contrast.post_hoc):
                unique[contrast.key()] = contrast
        families: dict[str, list[Contrast]] = {}
        for contrast in unique.values():
            families.setdefault(contrast.family, []).append(contrast)
        for name, members in families.items():
            # what was asked later is asked of the same data as all else: it is one more of all contrasts
            whole = list(unique.values()) if name == "post hoc" else members
            compared = compare_pairs([self.measure(c) for c in whole], self.margin)
            decided = {c.key(): (c, comparison) for c, comparison in zip(whole, compared, strict=True)}
            self._decided |= {c.key(): decided[c.key()] for c in members}

    def of(self, contrast: Contrast) -> Comparison:
        """The decision, with the arms in the order that is asked for."""
        decided, comparison = self._decided[contrast.key()]
        return comparison if (decided.a, decided.b) == (contrast.a, contrast.b) else reversed_comparison(comparison)

    def measure(self, c: Contrast) -> Paired:
        """The difference with its standard error, over the seeds that both arms have finished."""
        if c.key() not in self._measured:
            self._measured[c.key()] = self._measure(c)
        return self._measured[c.key()]

    def _measure(self, c: Contrast) -> Paired:
        arms = [arm for arm in (c.a, c.b) if arm not in (START, "")]
        seeds = self.results.seeds(*arms)
        if c.shape == "gain" or (c.shape == "difference" and c.b == START):
            return self._between(seeds, (c.a, c.place), (c.a, (*c.place[:2], c.since if c.shape == "gain" else 0.0)))
        if c.shape == "slows":
            task, metric, at = c.place
            points = [(task, metric, f) for f in (at, c.since, 1.0)]
            v_at, v_since, v_end = (self._values(c.a, p, seeds, interpolated=False) for p in points)
            return paired(2 * v_at - v_since - v_end, np.zeros(len(seeds)))
        if c.shape == "gap_closes":
            task, metric, at = c.place
            first: Place = (task, f"{metric.partition('@')[0]}@1", at)
            b_first, b_place = ((*p[:2], 0.0) if c.b == START else p for p in (first, c.place))
            b_arm = c.a if c.b == START else c.b
            sides = ((c.a, first), (b_arm, b_first), (c.a, c.place), (b_arm, b_place))
            a1, b1, a, b = (self._values(arm, place, seeds) for arm, place in sides)
            return paired(a1 - b1, a - b)
        return self._between(seeds, (c.a, c.place), (c.b, c.place))

    def _between(self, seeds: list[int], one: tuple[str, Place], two: tuple[str, Place]) -> Paired:
        """A difference of two values of each seed, over problems too where their outcomes are known."""
        if self.results.study.report.problems == "sampled" and len(seeds) > 1:
            hits = [self._outcomes(arm, place, seeds) for arm, place in (one, two)]
            if hits[0] is not None and hits[1] is not None and hits[0].shape == hits[1].shape:
                return crossed(hits[0], hits[1])
        own = one[0] == two[0]  # along one arm's curve: as measured, where its evaluations fell
        return paired(*(self._values(arm, place, seeds, interpolated=not own) for arm, place in (one, two)))

    def _values(self, arm: str, place: Place, seeds: list[int], interpolated: bool = True) -> np.ndarray:
        task, metric, at = place
        key: Key = (task, "strict", metric)
        read = partial(interpolation.value_SF, self.results) if interpolated else self.results.value_SF
        return read(arm, key, [at], seeds)[:, 0]

    def _outcomes(self, arm: str, place: Place, seeds: list[int]) -> np.ndarray | None:
        """Correct or not [S, I]; None where they were not kept, or a fraction lies between evaluations."""
        task, metric, at = place
        repeated = any(task == name for name, _ in self.results.at_k)  # several samples of each problem
        if metric != "exact_match" or at not in (0.0, 1.0) or repeated:
            return None
        kept = self._hits.setdefault((arm, task, at), {})
        for seed in seeds:
            if seed not in kept:
                kept[seed] = self.results.hit_SI(arm, task, at, [seed])[0]
        rows = [kept[seed] for seed in seeds]
        return np.stack(rows) if all(len(row) == len(rows[0]) > 1 for row in rows) else None


def reversed_comparison(c: Comparison) -> Comparison:
    """B - A."""
    swapped: Mapping[str, str] = {"A": "B", "B": "A"}
    kind = f"{swapped[c.kind[0]]}{c.kind[1:]}" if c.kind[1:2] == " " else c.kind
    return replace(c, kind=kind, pair=replace(c.pair, mean=-c.pair.mean), low=-c.high, high=-c.low)  # type: ignore[arg-type]
