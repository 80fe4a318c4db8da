"""What a study says beside its arms: how they are tuned, what its report shows, which claims are tested, and a profile
of another scale."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evals.statistics.comparison import MARGIN
from harness.config.files.paths import check_name
from harness.config.overrides import Fields, merge_overrides

TUNING_SEEDS = (10_000, 10_001, 10_002)  # three: the mean of one or two is luck
START = "start"  # in a hypothesis, the initial model: the same run at fraction 0


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Every arm gets the same number of trials: all points of the grid, or `trials` of them, sampled with a fixed seed,
    and what `widen` adds to them (`harness/studies/fairness/tuning.py`).

    A trial is run once per tuning seed.  The one with the highest mean endpoint on the selection split is selected, and
    its fields go into the arm's runs.  `base` changes what trials do not share with runs, e.g. a smaller budget.
    """

    grid: dict[str, list[Any]]  # field -> the values to try
    own: dict[str, dict[str, list[Any]]] = field(default_factory=dict)  # arm -> fields that it alone has, beside these
    design: Literal["grid", "star"] = "grid"  # every combination; star: one field at a time off its middle value
    widen: int = 0  # trials that an arm may get beyond these, until every best one lies inside what was tried
    bounds: dict[str, list[float]] = field(default_factory=dict)  # field -> [least, most] that widening may try
    seeds: list[int] = field(default_factory=lambda: list(TUNING_SEEDS))  # at least two, and none of the runs'
    trials: int | None = None  # per arm; None: the whole grid
    base: Fields = field(default_factory=dict)  # fields of trials alone, e.g. a smaller budget
    store: str | None = None  # the study in whose folder the trials lie, where several share them

    @property
    def fields(self) -> list[str]:
        """Every field that the trials of some arm set."""
        return list(dict.fromkeys([*self.grid, *itertools.chain(*self.own.values())]))

    def grid_of(self, arm: str) -> dict[str, list[Any]]:
        """The fields that this arm's trials set, with the values to try."""
        return {**self.grid, **self.own.get(arm, {})}

    def points(self, arm: str = "") -> list[Fields]:
        """The fields of an arm's first trials, e.g. [{"lr": 1e-4}, {"lr": 2e-4}]."""
        table = self.grid_of(arm)
        grid = [dict(zip(table, values, strict=True)) for values in itertools.product(*table.values())]
        if self.design == "star":
            middle = {name: values[len(values) // 2] for name, values in table.items()}
            grid = [point for point in grid if sum(point[name] != middle[name] for name in point) <= 1]
        if self.trials is None or self.trials >= len(grid):
            return grid
        return random.Random(0).sample(grid, self.trials)

    def check(self, arms: Mapping[str, bool]) -> None:
        """Raises ValueError naming the field.  `arms`: whether each is tuned for itself."""
        if not self.grid or not all(isinstance(v, list) and v for v in self.grid.values()):
            raise ValueError("tune.grid: must give each field a list of values")
        for arm, own in self.own.items():
            if not arms.get(arm):
                raise ValueError(f"tune.own: no arm '{arm}' with trials of its own; valid: {', '.join(arms)}")
            if not own or not all(isinstance(v, list) and v for v in own.values()) or set(own) & set(self.grid):
                raise ValueError(f"tune.own.{arm}: must give each field, none of the grid's, a list of values")
        if self.store is not None:
            check_name(self.store, "tune.store")
        if len(self.seeds) < 2:
            raise ValueError("tune.seeds: at least two, for one seed's best is luck")
        if self.trials is not None and self.trials < 1:
            raise ValueError("tune.trials: at least 1")
        if self.widen < 0:
            raise ValueError(f"tune.widen: must not be negative, not {self.widen}")
        points = {arm: self.points(arm) for arm, tuned in arms.items() if tuned}
        most = max(points, key=lambda arm: len(points[arm]))
        for arm, tried in points.items():
            several = [n for n in tried[0] if len({p[n] for p in tried if type(p[n]) in (int, float)}) > 1]
            if (len(tried) < len(points[most]) or self.widen) and not several:
                raise ValueError(
                    f"tune: arm '{arm}' has {len(tried)} trials, '{most}' {len(points[most])} and widen={self.widen}: "
                    "further ones need a field of which several numbers are tried"
                )
        for name, pair in self.bounds.items():
            if not any(name in self.grid_of(arm) for arm in points) or len(pair) != 2 or not pair[0] < pair[1]:
                raise ValueError(f"tune.bounds.{name}: must be [least, most] of a field of the grid, not {pair}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the report compares.  Blocks are tables of arms; every pair of every block is in the study's one family."""

    endpoint: str = "in"  # an evaluation set: its greedy strict accuracy at the end; "in": the task's own
    margin: float = 100 * MARGIN  # points of accuracy within which arms are equivalent
    blocks: dict[str, list[str]] = field(default_factory=dict)  # name -> arms; none: one block of all arms
    family: list[list[str]] = field(default_factory=list)  # pairs that are compared; none: all pairs of a block
    placebo: str = ""  # an arm with rewards that say nothing: gains are stated over it; none: over other arms alone
    problems: Literal["sampled", "fixed"] = "sampled"  # fixed: a benchmark; nothing is said of other problems
    level: float = 0.9  # accuracy whose cost is shown
    logged: list[str] = field(default_factory=list)  # names of metrics.jsonl, shown by quarter of the budget


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What a paper says, and the paired difference d_s, seed by seed, that a fair test looks at.

    With v the metric on the set `measure` at the fraction `at` of the budget, and arms = [a, b] or [a]:

        above       v(a) - v(b)                                 is a above b?
        alike       v(a) - v(b)                                 are they equivalent within the study's margin?
        not_above   v(a) - v(b)                                 is a above b by less than the margin, or below it?
        not_below   v(a) - v(b)                                 the other way round: nothing is lost, whatever is won
        gain        v(a) - v(a at `since`)                      has it risen?
        slows       [v(a) - v(a at `since`)] - [v(a at 1) - v(a)]   is most of its gain made by `at`?
        gap_closes  [v_1(a) - v_1(b)] - [v_K(a) - v_K(b)]       of pass@K or maj@K: is a's lead smaller at K than at 1?

    `start` is an arm that every study has: the initial model, measured in the other arm's own run at fraction 0.  Two
    arms are compared at exactly this fraction (`harness/reports/analysis/interpolation.py`), an arm with itself where
    its evaluations fell.
    """

    id: str  # the claim's: several hypotheses may test it, on other arms or sets
    says: str  # the paper, in one line
    arms: list[str]  # [a, b], or [a] for gain and slows
    source: str = ""  # where the paper says it
    expect: Literal["above", "alike", "not_above", "not_below", "gain", "slows", "gap_closes"] = (
        "above"  # which of these
    )
    measure: str = "in"  # an evaluation set; "in": the endpoint's, or the one of repeated problems for pass@K
    metric: str = "exact_match"  # or pass@K, maj@K, at fractions 0 and 1
    at: float = 1.0  # of the budget
    since: float = 0.0  # gain, slows: from this fraction on
    post_hoc: bool = False  # asked after runs had ended: shown apart, and in no headline
    settle: str = ""  # what would settle it
    note: str = ""  # shown beside the verdict

    @property
    def k(self) -> int | None:
        """K of pass@K or maj@K; None of any other metric."""
        kind, at, number = self.metric.partition("@")
        return int(number) if at and kind in ("pass", "maj") and number.isdigit() and int(number) > 0 else None

    def check(self, arms: Iterable[str], place: str) -> None:
        """Raises ValueError naming the field, as `place` + its name."""
        valid = [*arms, START]
        if unknown := [arm for arm in self.arms if arm not in valid]:
            raise ValueError(f"{place}arms: no arm '{unknown[0]}'; valid: {', '.join(valid)}")
        count = 1 if self.expect in ALONE else 2
        if len(self.arms) != count or len(set(self.arms)) != count or self.arms[0] == START:
            raise ValueError(f"{place}arms: {self.expect} compares {_COMPARED[count]}, not {self.arms}")
        if self.metric != "exact_match" and self.k is None:
            raise ValueError(f"{place}metric: '{self.metric}' is not exact_match, pass@K or maj@K")
        if self.expect == "gap_closes" and (self.k or 1) == 1:
            raise ValueError(f"{place}metric: gap_closes compares pass@K or maj@K with K = 1; not '{self.metric}'")
        if not (0 <= self.since <= 1 and 0 <= self.at <= 1) or (self.expect in ALONE and self.since >= self.at):
            raise ValueError(f"{place}at: must lie in 0..1, and after since; not {self.at:g} (since {self.since:g})")


ALONE = ("gain", "slows")  # these look at one arm
_COMPARED = {1: "one arm with itself", 2: "two arms, the first of which is not the start"}


@dataclass(frozen=True, kw_only=True)
class ScaleProfile:
    """Another scale for a study.  It lies over the base and over what arms call their `scale`.  It lies under all other
    fields of the arms, for these are the study's question.

    >>> ScaleProfile(name="p", fields={"lr": 1e-6}, algos={"grpo": {"kl_coef": 0.04}}).of("grpo")
    {'lr': 1e-06, 'algo': {'kl_coef': 0.04}}
    """

    name: str  # the file's own name
    fields: Fields  # laid over a study's base, e.g. model, lr, task
    algos: dict[str, Fields] = field(default_factory=dict)  # of one algorithm alone
    without: list[str] = field(default_factory=list)  # rewards and algorithms whose arms are left out
    source: str = ""  # paper and section

    def of(self, algo: str) -> Fields:
        own = self.algos.get(algo)
        return merge_overrides(self.fields, {"algo": own} if own else {})
