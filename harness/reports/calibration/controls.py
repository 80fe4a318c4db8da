"""Real runs with a known truth: what the comparison should say of them, and what it says.

    one_arm_twice   A/A test: runs of one arm, split at random into two arms, are separated in at most 5 % of splits
    inert_field     arms that differ in a field without effect are bitwise equal at every seed
    wrong_signs     positive control: an arm with flipped advantages is separated from the undamaged one
    fair_coin       negative control: an arm trained on random rewards does not improve

A check without its runs is reported as not run yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evals.statistics import simulation
from evals.statistics.comparison import POWER, Comparison, Paired, compare_pairs, paired
from harness.accounting.format import percent
from harness.reports.calibration.control_runs import (
    CLOCKS,
    ControlRuns,
    accuracy,
    config_changes,
    describe_runs,
    first_and_last,
    record_value,
    reproducible_values,
    shared_seeds,
)
from harness.reports.render.table import Table
from harness.reports.render.text import bracket, join_words, p_value, points

RUNS, SIZES = 40, (5, 10)  # runs of the one arm, and sizes of the two arms that they are split into
ALARMS = 0.065  # fraction of splits separated: 5 %, and three standard errors of 2,000 splits
# of B, the arm with flipped advantages
READINGS = {"A better": "worse", "B better": "better", "A ahead": "behind", "B ahead": "ahead"}
EXPLANATORY = ("completions/mean_length", "entropy")  # metrics reported with the effect of random rewards


@dataclass(frozen=True)
class Part:
    """One check: its requirement, its result, and the section about it."""

    title: str
    bar: str
    measured: str = "not run yet"
    holds: bool | None = None  # None: not decided yet
    text: list[str] = field(default_factory=list)  # paragraphs and tables
    numbers: dict[str, Any] = field(default_factory=dict)


def one_arm_twice(arm: ControlRuns, splits: int) -> Part:
    """A/A test: the fraction of random splits of one arm in which the two halves are separated."""
    title, bar = "A/A test", f"at most {percent(ALARMS)} of splits are separated"
    value_S = np.array([accuracy(run, "greedy", 1.0) for run in arm.runs.values()])
    rows = []
    for n in SIZES:
        if 2 * n <= len(value_S):
            a_TS, b_TS = simulation.random_arms(value_S, n, splits, np.random.default_rng(n))
            separated = simulation.fraction_separated(a_TS, b_TS)
            rows.append({"runs": len(value_S), "seeds": n, "deals": splits, "separated": separated})
    if not rows:
        needed = f"two arms of {SIZES[0]} need {2 * SIZES[0]} runs"
        return Part(title, bar, text=[f"Not run yet: {needed}; {describe_runs(arm)}."])
    rates = join_words([f"{percent(row['separated'])} with {row['seeds']} seeds" for row in rows])
    low, high = points(float(value_S.min())), points(float(value_S.max()))
    text = [
        f"Runs: {describe_runs(arm)}.  Final greedy accuracy in domain: mean {points(float(value_S.mean()))} %, "
        f"range {low} to {high} %, SD {points(float(value_S.std(ddof=1)))} points.",
        f"{splits:,} times, runs were drawn without replacement, split into two arms, paired at random and compared: "
        f"{rates} were separated.  The result is conditional on these {len(value_S)} runs.  Random splits make the "
        "runs exchangeable: this checks whether the interval suits the distribution of accuracies (ties, skew, tails), "
        "not whether seeds are independent.",
    ]
    complete = len(value_S) >= RUNS
    holds = all(row["separated"] <= ALARMS for row in rows) if complete else None
    measured = rates if complete else f"{rates}; {len(value_S)} of {RUNS} runs"
    return Part(title, bar, measured, holds, text, {"one_arm_twice": rows})


def inert_field(base: ControlRuns, arm: ControlRuns) -> Part:
    """Whether an arm is bitwise equal, at every seed, to one from which it differs in a field without effect."""
    title, bar = "Field without effect", "every seed is bitwise equal"
    seeds = shared_seeds(base, arm)
    if not seeds:
        return Part(title, bar, text=[f"Not run yet: {describe_runs(base, arm)}."])
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        a, b = reproducible_values(base.runs[seed]), reproducible_values(arm.runs[seed])
        unequal = [place for place in {**a, **b} if a.get(place) != b.get(place)]
        first = unequal[0] if unequal else None
        rows.append({"seed": seed, "compared": len({**a, **b}), "unequal": len(unequal), "first": first})
    equal = sum(not row["unequal"] for row in rows)
    changed = _changed_fields(base, arm)
    cells = [[str(r["seed"]), f"{r['compared']:,}", f"{r['unequal']:,}", r["first"] or "-"] for r in rows]
    text = [
        f"Runs: {describe_runs(base, arm)}.  Changed: {changed or 'nothing, so that the check is void'}.",
        "Runs with the same seed share prompts and random numbers, so a field without effect must not change any "
        "value.  Compared: all metrics of all rounds, all evaluations and all spend, as written, except measurements "
        f"of time and memory (names with {join_words([f'`{word}`' for word in CLOCKS])} in them).",
        Table("", ["seed", "values compared", "unequal", "first unequal"], cells).markdown(),
    ]
    measured, holds = f"{equal} of {len(seeds)} seeds are equal", equal == len(seeds) and bool(changed)
    return Part(title, bar, measured, holds, text, {"inert_field": rows})


def _changed_fields(base: ControlRuns, arm: ControlRuns) -> str:
    """The fields in which two arms differ, from one seed: the runs of an arm have equal configurations."""
    seed = shared_seeds(base, arm)[0]
    return ", ".join(f"`{change}`" for change in config_changes(base.runs[seed], arm.runs[seed]))


def wrong_signs(base: ControlRuns, arms: Sequence[ControlRuns]) -> Part:
    """Positive control: the smallest fraction of flipped advantages that is separated from none (A); one family."""
    title, bar = "Flipped advantages", "the largest fraction is separated as worse, and no fraction as better"
    available = sorted((arm for arm in arms if shared_seeds(base, arm)), key=_flipped)
    if not available:
        return Part(title, bar, text=[f"Not run yet: {describe_runs(base, *arms)}."])
    comparisons = compare_pairs([_pair(base, arm) for arm in available])
    rows = list(zip(map(_flipped, available), comparisons, strict=True))
    worse = [f"{percent(flipped, 0)}, by {points(c.pair.mean)} points" for flipped, c in rows if c.kind == "A better"]
    smallest = f"the smallest fraction separated from none is {worse[0]}" if worse else "no fraction is separated"
    changes = "; ".join(f"{percent(_flipped(arm), 0)}: {_changed_fields(base, arm)}" for arm in available)
    columns = ["flipped", "seeds", "difference", "interval", "p", "than none", "detectable"]
    text = [
        f"Runs: {describe_runs(base, *arms)}.  Changed, by the fraction of groups with flipped advantages: {changes}.",
        "Final greedy accuracy in domain, none flipped minus some, in points, with simultaneous intervals.",
        Table("", columns, [_flipped_cells(*row) for row in rows]).markdown(),
        f"{smallest.capitalize()}.  Detectable: the true difference that this number of seeds would separate with "
        f"probability {percent(POWER, 0)}.",
    ]
    complete = len(rows) == len(arms) and not any(c.pair.why for _, c in rows)
    holds = rows[-1][1].kind == "A better" and all(c.kind != "B better" for _, c in rows) if complete else None
    measured = smallest if complete else f"{smallest}; {len(rows)} of {len(arms)} fractions"
    return Part(title, bar, measured, holds, text, {"wrong_signs": [_flipped_numbers(*row) for row in rows]})


def _flipped(arm: ControlRuns) -> float:
    """The fraction of groups whose advantages have the wrong sign."""
    return float(record_value(next(iter(arm.runs.values())), "config.algo.flipped"))


def _pair(a: ControlRuns, b: ControlRuns) -> Paired:
    """The endpoint of two arms, paired over the seeds of both."""
    a_S, b_S = ([accuracy(arm.runs[seed], "greedy", 1.0) for seed in shared_seeds(a, b)] for arm in (a, b))
    return paired(a_S, b_S)


def _flipped_cells(flipped: float, c: Comparison) -> list[str]:
    interval = None if c.pair.why else (c.low, c.high)
    difference = [points(c.pair.mean, sign=True), bracket(interval), p_value(c.p)]
    return [percent(flipped, 0), str(c.pair.n), *difference, READINGS.get(c.kind, c.kind), points(c.detectable)]


def _flipped_numbers(flipped: float, c: Comparison) -> dict[str, Any]:
    numbers = {"mean": c.pair.mean, "low": c.low, "high": c.high, "p": c.p, "detectable": c.detectable}
    finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    return {"flipped": flipped, "seeds": c.pair.n, **finite, "kind": c.kind}


def fair_coin(arm: ControlRuns) -> Part:
    """Negative control: the change in accuracy after training on random rewards, with one-sample t-intervals."""
    title, bar = "Random rewards", "no gain: no interval of the change lies above 0"
    runs = list(arm.runs.values())
    if not runs:
        return Part(title, bar, text=[f"Not run yet: {describe_runs(arm)}."])
    rows: list[tuple[str, float, Paired]] = []
    for decoding in ("greedy", "sampled"):
        start_S, end_S = ([accuracy(run, decoding, fraction) for run in runs] for fraction in (0.0, 1.0))
        rows.append((decoding, float(np.mean(start_S)), paired(end_S, start_S)))
    metrics = {name: np.mean([first_and_last(run, name) for run in runs], axis=0).tolist() for name in EXPLANATORY}
    changes = [f"`{name}` from {first:.3g} to {last:.3g}" for name, (first, last) in metrics.items()]
    readings = join_words([f"{decoding} {points(c.mean, sign=True)} points ({_reading(c)})" for decoding, _, c in rows])
    columns = ["decoding", "seeds", "start", "end", "change", "interval", "reading"]
    text = [
        f"Runs: {describe_runs(arm)}.",
        f"Accuracy in domain (`{record_value(runs[0], 'config.task_name')}`) before and after training on random "
        "rewards, in percent; change in points, with its 95 % t-interval over seeds.",
        Table("", columns, [_change_cells(*row) for row in rows]).markdown(),
        f"Changes here are not learned from rewards: {readings}.  From the first to the last round, averaged over "
        f"seeds: {join_words(changes)}.",
    ]
    holds = None if any(c.why for _, _, c in rows) else all(_reading(c) != "a gain" for _, _, c in rows)
    numbers = {"fair_coin": [_change_numbers(*row) for row in rows], "fair_coin_rounds": metrics}
    return Part(title, bar, readings, holds, text, numbers)


def _reading(change: Paired) -> str:
    low, high = change.interval() or (math.nan, math.nan)
    return change.why or ("a gain" if low > 0 else "a loss" if high < 0 else "not separated from 0")


def _change_cells(decoding: str, start: float, c: Paired) -> list[str]:
    change = [points(c.mean, sign=True), bracket(c.interval()), _reading(c)]
    return [decoding, str(c.n), points(start), points(start + c.mean), *change]


def _change_numbers(decoding: str, start: float, c: Paired) -> dict[str, Any]:
    low, high = c.interval() or (None, None)
    return {"decoding": decoding, "seeds": c.n, "start": start, "change": c.mean, "low": low, "high": high}
