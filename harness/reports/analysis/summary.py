"""What the records of a study say: one row an arm, one verdict a pair, curves.  Numbers here, words in `wording`.

Accuracies are shares (0..1); a mean is over the training seeds that finished.  What could not be measured is None.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.statistics.comparison import (
    Verdict,
    clopper_pearson,
    crossed_bootstrap,
    iqm,
    judge,
    paired,
    percentiles,
    probability_of_improvement,
    t_interval,
)
from evals.statistics.learning_curves import Crossover, crossover, reached
from harness.accounting.budget import UNITS
from harness.reports.analysis.hypotheses import Judged, judged
from harness.reports.analysis.interpolation import Late, late, share, value_SF
from harness.reports.analysis.logged_metrics import Logged, logged
from harness.reports.analysis.pass_at_k import AtK, at_k
from harness.reports.loading import Key, Results, Run, Task
from harness.studies.status import choose_trial, endpoint_of

COLLAPSE = 0.10  # of accuracy at temperature 1 lost against the start
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Seed:
    """One run's place in a table: its endpoint, or why it has none."""

    seed: int
    value: float | None
    status: str


@dataclass(frozen=True)
class Curve:
    """One arm on one evaluation set: means over seeds at each point, with t-intervals where seeds allow."""

    mean_F: list[float]
    interval_F: list[Interval]


@dataclass(frozen=True)
class Arm:
    """One row of the main table."""

    name: str
    tuned: dict[str, Any]
    seeds: list[Seed]
    mean: float
    sd: float | None
    interval: Interval
    iqm: float
    curves: dict[str, Curve]  # by evaluation set, as measured: at `spend_F`
    matched: Curve  # the endpoint's, at the very fractions of the budget
    spend_F: dict[str, list[float]]  # by unit, mean over seeds at each point
    reached: float  # median over seeds of the budget at which the level was reached; inf where most never did
    silent: float | None  # share of groups whose rewards were all equal, mean over rounds; None for groups of one
    collapsed: int
    collapse_interval: tuple[float, float]
    memory: dict[str, float]  # parts, mean bytes
    peak_bytes: float
    seconds: dict[str, float]  # by phase, mean

    @property
    def finished(self) -> int:
        return sum(s.value is not None for s in self.seeds)


@dataclass(frozen=True)
class Pair:
    """A against B: the verdict and what stands beside it."""

    a: str
    b: str
    verdict: Verdict
    improvement: float  # P(a run of A beats a run of B)
    crossed: Interval  # of A - B under resampled seeds and problems; None where outcomes were not kept
    crossover: Crossover | None  # on the budget axis, in fractions; None with fewer than two points after the start


@dataclass(frozen=True)
class Block:
    """A family of comparisons."""

    name: str
    arms: list[str]
    pairs: list[Pair]


@dataclass(frozen=True)
class Audit:
    """How far spend may have strayed from the budget: the run with the largest mismatch."""

    run: str
    share: float  # of the limit left or overspent
    groups: float  # the same, in groups of that run
    holds: bool  # within 1 % or one group


@dataclass(frozen=True)
class Trial:
    name: str
    values: list[float | None]  # one a tuning seed
    chosen: bool


@dataclass(frozen=True)
class Findings:
    results: Results
    endpoint: Task
    start: dict[str, float]  # by evaluation set, of the start model
    arms: dict[str, Arm]
    blocks: list[Block]
    audit: Audit
    late: Late | None
    trials: dict[str, list[Trial]]
    hypotheses: list[Judged]
    at_k: list[AtK]
    logged: list[Logged]


def find(results: Results) -> Findings:
    """Everything that a report shows.  Raises ValueError, naming the file, where a record lacks what others have."""
    report, tasks = results.study.report, {t.name: t for t in results.tasks}
    arms = {arm: _arm(results, arm) for arm in results.runs if results.seeds(arm)}
    families = report.blocks or {"": list(results.runs)}
    blocks = [_block(results, name, [a for a in members if a in arms]) for name, members in families.items()]
    trials = {arm: _trials(results, arm) for arm in results.trials}
    start = {t: _start(results, t) for t in tasks} if 0.0 in results.fractions else {}
    read = judged(results), at_k(results), logged(results)
    return Findings(
        results, tasks[results.endpoint], start, arms, blocks, _audit(results), late(results), trials, *read
    )


def _start(results: Results, task: str) -> float:
    """One model, but its sampled completions differ by seed."""
    return float(np.mean([run.values()[0.0, strict(task)] for run in results if run.finished]))


def strict(task: str) -> Key:
    return task, "strict", "exact_match"


# --- arms -------------------------------------------------------------------------------------------------------


def _arm(results: Results, arm: str) -> Arm:
    seeds, runs, task = results.seeds(arm), results.runs[arm], results.endpoint
    ended = [runs[seed] for seed in seeds]
    values = dict(zip(seeds, results.value_SF(arm, strict(task), [1.0], seeds)[:, 0].tolist(), strict=True))
    planned = results.study.seeds_of(arm)
    rows = [
        Seed(seed, values.get(seed), runs[seed].status if seed in runs else "not run")
        for seed in sorted({*planned, *runs})
    ]
    fractions = results.fractions
    spends = [[run.spend(f) for f in fractions] for run in ended]
    accuracy = np.array(list(values.values()))
    known = sorted(seed for seed, run in runs.items() if run.record["status"] in ("finished", "failed"))
    lost = sum(_collapsed(results, runs[seed]) for seed in known)
    return Arm(
        name=arm,
        tuned=_tuned(results, ended[0]),
        seeds=rows,
        mean=float(accuracy.mean()),
        sd=float(accuracy.std(ddof=1)) if len(seeds) > 1 else None,
        interval=t_interval(accuracy),
        iqm=iqm(accuracy),
        curves={t.name: _curve(results.value_SF(arm, strict(t.name), fractions, seeds)) for t in results.tasks},
        matched=_curve(value_SF(results, arm, strict(task), fractions, seeds)),
        spend_F={u: np.mean([[s[u] for s in curve] for curve in spends], axis=0).tolist() for u in UNITS},
        reached=_reached(results, arm, seeds),
        silent=_silent(ended),
        collapsed=lost,
        collapse_interval=clopper_pearson(lost, len(known)),
        memory=_means([{k: part["bytes"] for k, part in r.record["memory"]["parts"].items()} for r in ended]),
        peak_bytes=float(np.mean([r.record["memory"]["peak_bytes"] for r in ended])),
        seconds=_means([{k: phase["seconds"] for k, phase in r.record["phases"].items()} for r in ended]),
    )


def _curve(value_SF: np.ndarray) -> Curve:
    return Curve(value_SF.mean(0).tolist(), [t_interval(value_S) for value_S in value_SF.T])


def _means(tables: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: float(np.mean([t.get(name, 0.0) for t in tables])) for name in names}


def _tuned(results: Results, run: Run) -> dict[str, Any]:
    """The fields that the study's trials decided, as this arm has them."""
    tune, config = results.study.tune, run.record["config"]
    found = {}
    for name in tune.grid if tune else ():
        group, dot, inner = name.partition(".")
        found[name] = config[group].get(inner) if dot else config.get(group)
    return found


def _reached(results: Results, arm: str, seeds: list[int]) -> float:
    level, fractions, limit = results.study.report.level, results.fractions, results.one.record["budget"]["limit"]
    y_SF = results.value_SF(arm, strict(results.endpoint), fractions, seeds)
    x_SF = [[limit * share(results.runs[arm][seed], f) for f in fractions] for seed in seeds]
    return float(np.median([reached(x_F, y_F, level) for x_F, y_F in zip(x_SF, y_SF, strict=True)]))


def _silent(runs: Sequence[Run]) -> float | None:
    groups = [run for run in runs if _group_size(run.record["config"]) > 1]
    shares = [m["frac_reward_zero_std"] for run in groups for m in run.metrics() if "frac_reward_zero_std" in m]
    return float(np.mean(shares)) if shares else None


def _group_size(config: Mapping[str, Any]) -> int:
    """G as it was drawn: an algorithm's schedule may have its own."""
    return int(config.get("schedule", {}).get("group_size", config["group_size"]))


def _collapsed(results: Results, run: Run) -> bool:
    """Failed, or at the end more than COLLAPSE below the start at temperature 1."""
    if not run.finished:
        return True
    sampled = [t.name for t in results.tasks if t.domain == "in" and t.temperature]
    values = run.values()
    lost = (values.get((0.0, strict(t)), 0.0) - values.get((1.0, strict(t)), 0.0) for t in sampled)
    return any(round(x, 9) > COLLAPSE for x in lost)


# --- pairs ------------------------------------------------------------------------------------------------------


def _block(results: Results, name: str, arms: list[str]) -> Block:
    report, task, fractions = results.study.report, results.endpoint, results.fractions
    asked = [tuple(pair) for pair in report.family] or list(itertools.combinations(arms, 2))
    pairs = [(a, b) for a, b in asked if a in arms and b in arms]
    curves = [[value_SF(results, arm, strict(task), fractions, results.seeds(*pair)) for arm in pair] for pair in pairs]
    verdicts = judge([paired(a_SF[:, -1], b_SF[:, -1]) for a_SF, b_SF in curves], report.margin / 100)
    draws = _crossed(results, arms)
    found = []
    for (a, b), (a_SF, b_SF), verdict in zip(pairs, curves, verdicts, strict=True):
        crossing = sum(f > 0 for f in fractions) > 1 and len(a_SF) > 0
        where = crossover(fractions, a_SF, b_SF, np.random.default_rng(0)) if crossing else None
        every = [results.value_SF(arm, strict(task), [1.0], results.seeds(arm))[:, 0] for arm in (a, b)]
        crossed = percentiles(draws[a] - draws[b]) if draws else None
        found.append(Pair(a, b, verdict, probability_of_improvement(*every), crossed, where))
    return Block(name, arms, found)


def _crossed(results: Results, arms: list[str]) -> dict[str, np.ndarray]:
    """Resampled means of each arm, over the seeds that all of them have; none where outcomes were not kept."""
    seeds = results.seeds(*arms) if arms else []
    hits = [results.hit_SI(arm, results.endpoint, 1.0, seeds) for arm in arms] if len(seeds) > 1 else []
    if not hits or any(hit_SI.shape[1] == 0 for hit_SI in hits):
        return {}
    draws_BA = crossed_bootstrap(np.stack(hits), np.random.default_rng(0))
    return dict(zip(arms, draws_BA.T, strict=True))


def _audit(results: Results) -> Audit:
    audits = []
    for run in results:
        if run.finished:
            unit, limit = run.record["budget"]["unit"], run.record["budget"]["limit"]
            spend = run.record["spend"]
            off, group = abs(limit - spend[unit]), spend[unit] / max(spend["prompts"], 1)
            groups = off / group if group else math.inf
            audits.append(Audit(f"{run.arm} seed {run.seed}", off / limit, groups, off <= max(0.01 * limit, group)))
    return max(audits, key=lambda a: (not a.holds, a.share))


def _trials(results: Results, arm: str) -> list[Trial]:
    tune = results.study.tune
    assert tune is not None
    found = {
        name: [endpoint_of(by_seed[s].record) if s in by_seed else None for s in tune.seeds]
        for name, by_seed in results.trials[arm].items()
    }
    best = choose_trial(found)
    return [Trial(name, values, name == best) for name, values in found.items()]
