"""Real runs whose truth is known: what the comparison must say of them, and what it says.

    one arm twice     runs of one arm, dealt to two arms at random, are told apart no more often than they may be
    an inert field    arms that differ in a field without effect are equal, seed by seed and bit for bit
    wrong signs       an arm that was damaged on purpose is told from one that was not (positive control)
    a fair coin       an arm whose rewards say nothing: what it gains or loses is shown (negative control)

A part whose runs are not there says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evals.statistics import simulation
from evals.statistics.comparison import POWER, Paired, Verdict, judge, paired
from harness.accounting.format import percent
from harness.reports.calibration.control_runs import CLOCKS, Arm, accuracy, changed, ends, entry, facts, shared, sources
from harness.reports.render.tables import Table
from harness.reports.render.text import bracket, listed, p_value, points

RUNS, SIZES = 40, (5, 10)  # of one arm, and of the arms that they are dealt to
ALARMS = 0.065  # share of deals separated: 5 %, and three standard errors of 2,000 deals
TOLD = {"A better": "worse", "B better": "better"}  # than A, arm B with wrong signs
EXPLAINING = ("completions/mean_length", "entropy")  # metrics beside the coin's change


@dataclass(frozen=True)
class Part:
    """One question, its answer, and all that is said of it."""

    title: str
    bar: str
    measured: str = "not run yet"
    holds: bool | None = None  # None: it cannot be said yet
    text: list[str] = field(default_factory=list)  # paragraphs and tables
    numbers: dict[str, Any] = field(default_factory=dict)


def one_arm_twice(arm: Arm, deals: int) -> Part:
    """The share of deals in which two arms that are one are told apart."""
    title, bar = "One arm twice", f"at most {percent(ALARMS)} of deals are separated"
    value_S = np.array([accuracy(run, "greedy", 1.0) for run in arm.runs.values()])
    found = []
    for n in SIZES:
        if 2 * n <= len(value_S):
            a_TS, b_TS = simulation.random_arms(value_S, n, deals, np.random.default_rng(n))
            share = simulation.share_separated(a_TS, b_TS)
            found.append({"runs": len(value_S), "seeds": n, "deals": deals, "separated": share})
    if not found:
        return Part(title, bar, text=[f"Not run yet: two arms of {SIZES[0]} need {2 * SIZES[0]} runs; {sources(arm)}."])
    told = listed([f"{percent(row['separated'])} with {row['seeds']} seeds" for row in found])
    low, high = points(float(value_S.min())), points(float(value_S.max()))
    text = [
        f"Runs: {sources(arm)}.  In-domain greedy accuracy at the end is {points(float(value_S.mean()))} % on average, "
        f"from {low} to {high} %, with an SD of {points(float(value_S.std(ddof=1)))} points.",
        f"{deals:,} times, runs were drawn without replacement, dealt to two arms, paired at random and judged: {told} "
        f"were separated.  This is conditional on these {len(value_S)} runs.  Dealing makes any runs exchangeable: it "
        "asks whether the interval suits the shape of their spread (ties, skew, tails), not whether seeds are "
        "independent.",
    ]
    whole = len(value_S) >= RUNS
    holds = all(row["separated"] <= ALARMS for row in found) if whole else None
    measured = told if whole else f"{told}; {len(value_S)} of {RUNS} runs"
    return Part(title, bar, measured, holds, text, {"one_arm_twice": found})


def inert_field(base: Arm, arm: Arm) -> Part:
    """Whether an arm has, seed by seed, the numbers of one from which it differs in a field without effect."""
    title, bar = "An inert field", "every seed is equal, bit for bit"
    seeds = shared(base, arm)
    if not seeds:
        return Part(title, bar, text=[f"Not run yet: {sources(base, arm)}."])
    found: list[dict[str, Any]] = []
    for seed in seeds:
        a, b = facts(base.runs[seed]), facts(arm.runs[seed])
        unequal = [place for place in {**a, **b} if a.get(place) != b.get(place)]
        first = unequal[0] if unequal else None
        found.append({"seed": seed, "compared": len({**a, **b}), "unequal": len(unequal), "first": first})
    equal = sum(not row["unequal"] for row in found)
    differ = _changed(base, arm)
    rows = [[str(r["seed"]), f"{r['compared']:,}", f"{r['unequal']:,}", r["first"] or "-"] for r in found]
    text = [
        f"Runs: {sources(base, arm)}.  Changed: {differ or 'nothing, so that nothing is shown'}.",
        "Runs of one seed share prompts and noise, so a field that cannot act must leave every number as it is.  "
        "Compared as they are written: all metrics of all rounds, all evaluations and all spends, but for what clocks "
        f"and meters read (names with {listed([f'`{word}`' for word in CLOCKS])} in them).",
        Table("", ["seed", "values compared", "unequal", "first of them"], rows).markdown(),
    ]
    measured, holds = f"{equal} of {len(seeds)} seeds are equal", equal == len(seeds) and bool(differ)
    return Part(title, bar, measured, holds, text, {"inert_field": found})


def _changed(base: Arm, arm: Arm) -> str:
    """The fields that set an arm apart: those of any seed, for the runs of an arm are alike."""
    seed = shared(base, arm)[0]
    return ", ".join(f"`{field}`" for field in changed(base.runs[seed], arm.runs[seed]))


def wrong_signs(base: Arm, arms: Sequence[Arm]) -> Part:
    """The smallest damage that is told from none: one family of pairs, none (A) against some (B)."""
    title, bar = "Wrong signs", "the largest share is told from none, as worse, and no share as better"
    there = sorted((arm for arm in arms if shared(base, arm)), key=_flipped)
    if not there:
        return Part(title, bar, text=[f"Not run yet: {sources(base, *arms)}."])
    found = list(zip(map(_flipped, there), judge([_pair(base, arm) for arm in there]), strict=True))
    worse = [f"{percent(share, 0)}, by {points(v.pair.mean)} points" for share, v in found if v.kind == "A better"]
    smallest = f"the smallest share told from none is {worse[0]}" if worse else "no share is told from none"
    differ = "; ".join(f"{percent(_flipped(arm), 0)}: {_changed(base, arm)}" for arm in there)
    columns = ["flipped", "seeds", "difference", "interval", "p (Holm)", "than none", "could have shown"]
    text = [
        f"Runs: {sources(base, *arms)}.  Changed, by the share of groups whose advantages have the wrong sign: "
        f"{differ}.",
        "In-domain greedy accuracy at the end, none flipped minus some, in points; the intervals hold simultaneously.",
        Table("", columns, [_signs_row(*row) for row in found]).markdown(),
        f"{smallest.capitalize()}.  The last column is the true difference that so many seeds, with their spread, "
        f"would have separated with a probability of {percent(POWER, 0)}.",
    ]
    whole = len(found) == len(arms) and not any(v.pair.why for _, v in found)
    holds = found[-1][1].kind == "A better" and all(v.kind != "B better" for _, v in found) if whole else None
    measured = smallest if whole else f"{smallest}; {len(found)} of {len(arms)} shares"
    return Part(title, bar, measured, holds, text, {"wrong_signs": [_signs_numbers(*row) for row in found]})


def _flipped(arm: Arm) -> float:
    """The share of groups whose advantages have the wrong sign."""
    return float(entry(next(iter(arm.runs.values())), "config.algo.flipped"))


def _pair(a: Arm, b: Arm) -> Paired:
    """At the endpoint, over the seeds that they share."""
    a_S, b_S = ([accuracy(arm.runs[seed], "greedy", 1.0) for seed in shared(a, b)] for arm in (a, b))
    return paired(a_S, b_S)


def _signs_row(share: float, v: Verdict) -> list[str]:
    interval = None if v.pair.why else (v.low, v.high)
    told = TOLD.get(v.kind, v.kind)
    difference = [points(v.pair.mean, sign=True), bracket(interval), p_value(v.p_holm)]
    return [percent(share, 0), str(v.pair.n), *difference, told, points(v.detectable)]


def _signs_numbers(share: float, v: Verdict) -> dict[str, Any]:
    numbers = {"mean": v.pair.mean, "low": v.low, "high": v.high, "p_holm": v.p_holm, "detectable": v.detectable}
    finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    return {"flipped": share, "seeds": v.pair.n, **finite, "kind": v.kind}


def fair_coin(arm: Arm) -> Part:
    """What changes where rewards say nothing, greedy and sampled, with the one-sample t-interval over seeds."""
    title, bar = "A fair coin", "no gain: no interval of the change lies above 0"
    runs = list(arm.runs.values())
    if not runs:
        return Part(title, bar, text=[f"Not run yet: {sources(arm)}."])
    found: list[tuple[str, float, Paired]] = []
    for decoding in ("greedy", "sampled"):
        start_S, end_S = ([accuracy(run, decoding, fraction) for run in runs] for fraction in (0.0, 1.0))
        found.append((decoding, float(np.mean(start_S)), paired(end_S, start_S)))
    rounds = {name: np.mean([ends(run, name) for run in runs], axis=0).tolist() for name in EXPLAINING}
    moved = [f"`{name}` from {first:.3g} to {last:.3g}" for name, (first, last) in rounds.items()]
    told = listed([f"{decoding} {points(c.mean, sign=True)} points ({_reading(c)})" for decoding, _, c in found])
    columns = ["decoding", "seeds", "start", "end", "change", "interval", "reading"]
    text = [
        f"Runs: {sources(arm)}.",
        f"In-domain accuracy on `{entry(runs[0], 'config.task_name')}` before and after training on rewards that say "
        "nothing, in percent; the change in points, with its 95 % t-interval over seeds.",
        Table("", columns, [_coin_row(*row) for row in found]).markdown(),
        f"Whatever is gained or lost here was not learned from rewards: {told}.  From the first round to the last, on "
        f"average over seeds: {listed(moved)}.",
    ]
    holds = None if any(c.why for _, _, c in found) else all(_reading(c) != "a gain" for _, _, c in found)
    numbers = {"fair_coin": [_coin_numbers(*row) for row in found], "fair_coin_rounds": rounds}
    return Part(title, bar, told, holds, text, numbers)


def _reading(change: Paired) -> str:
    low, high = change.interval() or (math.nan, math.nan)
    return change.why or ("a gain" if low > 0 else "a loss" if high < 0 else "not told from none")


def _coin_row(decoding: str, start: float, c: Paired) -> list[str]:
    change = [points(c.mean, sign=True), bracket(c.interval()), _reading(c)]
    return [decoding, str(c.n), points(start), points(start + c.mean), *change]


def _coin_numbers(decoding: str, start: float, c: Paired) -> dict[str, Any]:
    low, high = c.interval() or (None, None)
    return {"decoding": decoding, "seeds": c.n, "start": start, "change": c.mean, "low": low, "high": high}
