"""The results of a study: one summary per arm, one comparison per pair.  Numbers here, words in `render.text`.

Accuracies are fractions (0..1); means are over the training seeds that finished.  None: it could not be measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evals.statistics.comparison import Comparison, paired
from evals.statistics.estimates import clopper_pearson, iqm, probability_of_improvement, t_interval
from evals.statistics.learning_curves import Crossover, crossover, reached
from harness.accounting.budget import UNITS
from harness.reports.analysis.budget_audit import Audit, Delay, audit_budget, largest_delay
from harness.reports.analysis.contrasts import Contrast, Decisions
from harness.reports.analysis.coverage import Average, Coverage, averages, coverage
from harness.reports.analysis.hypotheses import HypothesisResult, evaluate_hypotheses, hypothesis_contrasts
from harness.reports.analysis.interpolation import budget_fraction, value_SF
from harness.reports.analysis.logged_metrics import LoggedMetric, logged_metrics
from harness.reports.analysis.pass_at_k import AtK, at_k
from harness.reports.loading import EvalTask, Key, Results, RunRecord
from harness.studies.fairness.placebo import gains
from harness.studies.registration import later
from harness.studies.status import endpoint_of, select_trial

COLLAPSE = 0.10  # loss of accuracy at temperature 1 against the start
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Seed:
    """One run: the value of its endpoint, or None and the reason in `status`."""

    seed: int
    value: float | None
    status: str


@dataclass(frozen=True)
class Curve:
    """One arm on one evaluation set: means over seeds at each point, with t-intervals if there are enough seeds."""

    mean_F: list[float]
    interval_F: list[Interval]


@dataclass(frozen=True)
class ArmSummary:
    """One row of the main table."""

    name: str
    tuned: dict[str, Any]
    seeds: list[Seed]
    mean: float
    sd: float | None
    interval: Interval
    iqm: float
    curves: dict[str, Curve]  # per evaluation set, as measured at `spend_F`
    matched: Curve  # of the endpoint, interpolated to the exact fractions of the budget
    spend_F: dict[str, list[float]]  # per unit, mean over seeds at each point; nan where it is not known
    budget_to_level: float  # median over seeds of the budget at which the level was reached; inf if most never did
    zero_variance: float | None  # fraction of groups with equal rewards, mean over rounds; None for groups of one
    collapsed: int
    collapse_interval: tuple[float, float]
    memory: dict[str, float]  # per part, mean bytes
    peak_bytes: float
    seconds: dict[str, float]  # per phase, mean

    @property
    def finished(self) -> int:
        return sum(s.value is not None for s in self.seeds)


@dataclass(frozen=True)
class Pair:
    """A against B: the comparison at the endpoint, and further statistics."""

    a: str
    b: str
    comparison: Comparison
    improvement: float  # P(a run of A is better than a run of B)
    seeds_alone: Interval  # of A - B over seeds, for these problems, at 95 % and uncorrected
    crossover: Crossover | None  # in fractions of the budget; None with fewer than two points after the start
    post_hoc: bool = False  # one of the arms was added after the study had been locked


@dataclass(frozen=True)
class Block:
    """A table of arms and its pairs."""

    name: str
    arms: list[str]
    pairs: list[Pair]


@dataclass(frozen=True)
class Trial:
    name: str
    values: list[float | None]  # per tuning seed
    chosen: bool
    fields: dict[str, Any] = field(default_factory=dict, compare=False)  # what it set


@dataclass(frozen=True)
class Findings:
    """Everything that a report shows."""

    results: Results
    endpoint: EvalTask
    start: dict[str, float]  # accuracy of the start model per evaluation set
    arms: dict[str, ArmSummary]
    blocks: list[Block]
    audit: Audit
    delay: Delay | None
    trials: dict[str, list[Trial]]
    hypotheses: list[HypothesisResult]
    at_k: list[AtK]
    logged: list[LoggedMetric]
    coverage: list[Coverage] = field(default_factory=list)
    averages: list[Average] = field(default_factory=list)

    @property
    def asked_before(self) -> list[HypothesisResult]:
        return [r for r in self.hypotheses if not r.hypothesis.post_hoc]

    @property
    def asked_after(self) -> list[HypothesisResult]:
        """Post hoc: asked after runs had ended."""
        return [r for r in self.hypotheses if r.hypothesis.post_hoc]


def summarize(results: Results) -> Findings:
    """The findings of a study.  Raises ValueError, naming the file, if a record lacks what others have."""
    report, tasks = results.study.report, {t.name: t for t in results.tasks}
    arms = {arm: _arm(results, arm) for arm in results.runs if results.seeds(arm)}
    families = report.blocks or {"": list(results.runs)}
    decisions = Decisions(results, report.margin / 100)
    members = {name: [a for a in block if a in arms] for name, block in families.items()}
    pairs = {name: _pairs(results, block) for name, block in members.items()}
    asked = [c for c in hypothesis_contrasts(results) if c is not None]
    decisions.decide([*(_contrast(results, *pair) for block in pairs.values() for pair in block), *asked])
    blocks = [_block(results, name, block, pairs[name], decisions) for name, block in members.items()]
    trials = {arm: _trials(results, arm) for arm in results.trials}
    start = {t: _start(results, t) for t in tasks} if 0.0 in results.fractions else {}
    return Findings(
        results=results,
        endpoint=tasks[results.endpoint],
        start=start,
        arms=arms,
        blocks=blocks,
        audit=audit_budget(results),
        delay=largest_delay(results),
        trials=trials,
        hypotheses=evaluate_hypotheses(results, decisions),
        at_k=at_k(results),
        coverage=coverage(results),
        averages=averages(results),
        logged=logged_metrics(results),
    )


def _start(results: Results, task: str) -> float:
    """The mean over all runs: they share the start model, but sampled completions differ by seed."""
    return float(np.mean([run.values()[0.0, strict(task)] for run in results if run.finished]))


def strict(task: str) -> Key:
    return task, "strict", "exact_match"


# --- arms -------------------------------------------------------------------------------------------------------


def _arm(results: Results, arm: str) -> ArmSummary:
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
    collapsed = sum(_collapsed(results, runs[seed]) for seed in known)
    return ArmSummary(
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
        budget_to_level=_budget_to_level(results, arm, seeds),
        zero_variance=_zero_variance(ended),
        collapsed=collapsed,
        collapse_interval=clopper_pearson(collapsed, len(known)),
        memory=_means([{k: part["bytes"] for k, part in r.record["memory"]["parts"].items()} for r in ended]),
        peak_bytes=float(np.mean([r.record["memory"]["peak_bytes"] or np.nan for r in ended])),
        seconds=_means([{k: phase["seconds"] for k, phase in r.record["phases"].items()} for r in ended]),
    )


def _curve(value_SF: np.ndarray) -> Curve:
    return Curve(value_SF.mean(0).tolist(), [t_interval(value_S) for value_S in value_SF.T])


def _means(tables: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: float(np.mean([t.get(name, 0.0) for t in tables])) for name in names}


def _tuned(results: Results, run: RunRecord) -> dict[str, Any]:
    """The tuned fields of the configuration, with this arm's values; None where the arm has no such field."""
    tune, config = results.study.tune, run.record["config"]
    values = {}
    for name in tune.fields if tune else ():
        group, dot, inner = name.partition(".")
        values[name] = config[group].get(inner) if dot else config.get(group)
    return values


def _budget_to_level(results: Results, arm: str, seeds: list[int]) -> float:
    level, fractions, limit = results.study.report.level, results.fractions, results.example.record["budget"]["limit"]
    y_SF = results.value_SF(arm, strict(results.endpoint), fractions, seeds)
    x_SF = [[limit * budget_fraction(results.runs[arm][seed], f) for f in fractions] for seed in seeds]
    return float(np.median([reached(x_F, y_F, level) for x_F, y_F in zip(x_SF, y_SF, strict=True)]))


def _zero_variance(runs: Sequence[RunRecord]) -> float | None:
    with_groups = [run for run in runs if _group_size(run.record["config"]) > 1]
    fractions = [m["frac_reward_zero_std"] for run in with_groups for m in run.metrics() if "frac_reward_zero_std" in m]
    return float(np.mean(fractions)) if fractions else None


def _group_size(config: Mapping[str, Any]) -> int:
    """The group size that was used: an algorithm's schedule may override the configuration's."""
    return int(config.get("schedule", {}).get("group_size", config["group_size"]) or 1)


def _collapsed(results: Results, run: RunRecord) -> bool:
    """Failed, or more than COLLAPSE below the start at temperature 1 at the end."""
    if not run.finished:
        return True
    sampled = [t.name for t in results.tasks if t.domain == "in" and t.temperature]
    values = run.values()
    lost = (values.get((0.0, strict(t)), 0.0) - values.get((1.0, strict(t)), 0.0) for t in sampled)
    return any(round(x, 9) > COLLAPSE for x in lost)


# --- pairs ------------------------------------------------------------------------------------------------------


def _pairs(results: Results, arms: list[str]) -> list[tuple[str, str]]:
    """The pairs of a block: those that the study names, or all; with a placebo, each other arm against it too."""
    named = [(a, b) for a, b in results.study.report.family]
    pairs = [(a, b) for a, b in named or itertools.combinations(arms, 2) if a in arms and b in arms]
    return [*pairs, *((a, b) for a, b in gains(results.study, arms) if (a, b) not in pairs and (b, a) not in pairs)]


def _contrast(results: Results, a: str, b: str) -> Contrast:
    added, _ = later(results.lock, results.study)
    return Contrast(a, b, (results.endpoint, "exact_match", 1.0), post_hoc=a in added or b in added)


def _block(results: Results, name: str, arms: list[str], pairs: list[tuple[str, str]], decisions: Decisions) -> Block:
    task, fractions = results.endpoint, results.fractions
    rows = []
    for a, b in pairs:
        a_SF, b_SF = (value_SF(results, arm, strict(task), fractions, results.seeds(a, b)) for arm in (a, b))
        has_curve = sum(f > 0 for f in fractions) > 1 and len(a_SF) > 0
        crossing = crossover(fractions, a_SF, b_SF) if has_curve else None
        all_seeds = [results.value_SF(arm, strict(task), [1.0], results.seeds(arm))[:, 0] for arm in (a, b)]
        alone = paired(a_SF[:, -1], b_SF[:, -1]).interval()
        contrast = _contrast(results, a, b)
        improvement = probability_of_improvement(*all_seeds)
        rows.append(Pair(a, b, decisions.of(contrast), improvement, alone, crossing, contrast.post_hoc))
    return Block(name, arms, rows)


def _trials(results: Results, arm: str) -> list[Trial]:
    tune = results.study.tune
    assert tune is not None
    values_by_trial = {
        name: [endpoint_of(by_seed[s].record) if s in by_seed else None for s in tune.seeds]
        for name, by_seed in results.trials[arm].items()
    }
    fields = {name: _tuned(results, next(iter(runs.values()))) for name, runs in results.trials[arm].items()}
    best = select_trial(values_by_trial)
    return [Trial(name, values, name == best, fields[name]) for name, values in values_by_trial.items()]
