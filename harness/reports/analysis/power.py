"""Before a study runs: what it can decide.

For each contrast between arms, from the spread of runs that there are, else from a stated guess:

    stderr(S)^2 = sd^2 / S + problems,      sd over seeds of A - B; `problems` what the choice of problems adds
    df(S)       = stderr^4 / ((sd^2 / S)^2 / (S - 1) + problems^2 / (I - 1))

and the power of the two-sided t-test at level 1 - a/m, m contrasts in the family (the hardest step of the step-down).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evals.statistics.comparison import POWER, Paired, power_at, shift_with_power
from evals.statistics.estimates import LEVEL, MIN_SEEDS
from harness.records.runs import read_record, record_place, run_folders
from harness.records.schema import Record, check_record
from harness.reports.analysis.contrasts import Contrast, Decisions
from harness.reports.loading import load_results
from harness.studies.fairness.placebo import gains
from harness.studies.schema import ALONE, START
from harness.studies.status import endpoint_of
from harness.studies.study import Study

MOST = 400  # seeds that are tried


@dataclass(frozen=True)
class Spread:
    """What is known of a difference before it is measured."""

    sd: float  # over seeds
    problems: float  # variance that the choice of problems adds; 0 where it is not known
    items: int  # problems; 0 where they are not counted
    basis: str  # where this is from

    def stderr(self, seeds: int) -> float:
        return math.sqrt(self.sd**2 / seeds + self.problems)

    def df(self, seeds: int) -> float:
        parts = [((self.sd**2 / seeds) ** 2, seeds - 1), (self.problems**2, max(self.items - 1, 1))]
        spread = sum(x / n for x, n in parts)
        return self.stderr(seeds) ** 4 / spread if spread else seeds - 1


@dataclass(frozen=True)
class Prospect:
    """What a contrast can show.  Differences in accuracy."""

    a: str
    b: str
    spread: Spread | None  # None: nothing like it has run, and nothing was guessed
    seeds: int
    detectable: float  # with probability POWER; nan with too few seeds for an interval
    power: float  # at the margin
    needed: int | None  # seeds for POWER at the margin; None: no number is enough, or too many
    room: float  # between the better arm's expected accuracy and 1; nan where it is not known


def prospects(study: Study, out: Path, guess: float | None = None) -> list[Prospect]:
    """Of every contrast between arms that the study asks for.  `guess`: an SD over seeds, where no run tells one."""
    pairs, margin = asked_pairs(study), study.report.margin / 100
    level, recorded, like = 1 - (1 - LEVEL) / max(len(pairs), 1), _recorded(study, out), _like_arms(study, out)
    rows = []
    for a, b in pairs:
        spread = _spread(a, b, recorded, like, guess)
        seeds = len(set(study.seeds_of(a)) & set(study.seeds_of(b)))
        means = [like[arm][0] for arm in (a, b) if arm in like]
        room = 1 - max(means) if means else math.nan
        if spread is None or spread.stderr(max(seeds, 1)) == 0:
            rows.append(Prospect(a, b, spread, seeds, math.nan, math.nan, None, room))
            continue
        if seeds < MIN_SEEDS:  # there is no interval, so that nothing is decided; how many there must be is known
            rows.append(Prospect(a, b, spread, seeds, math.nan, 0.0, seeds_needed(spread, margin, level), room))
            continue
        stderr, df = spread.stderr(seeds), spread.df(seeds)
        power = power_at(margin / stderr, df, level)
        detectable = stderr * shift_with_power(df, level)
        rows.append(Prospect(a, b, spread, seeds, detectable, power, seeds_needed(spread, margin, level), room))
    return rows


def asked_pairs(study: Study) -> list[tuple[str, str]]:
    """The pairs of arms that tables and claims compare, each once; claims on other sets ask for the same arms."""
    blocks, family = list(study.report.blocks.values()) or [list(study.arms)], study.report.family
    pairs = [(a, b) for a, b in family] or [p for block in blocks for p in itertools.combinations(block, 2)]
    pairs += [pair for block in blocks for pair in gains(study, block)]
    claimed = [h.arms for h in study.hypotheses if h.expect not in ALONE and START not in h.arms and not h.post_hoc]
    unique: dict[frozenset[str], tuple[str, str]] = {}
    for a, b in [*pairs, *((x, y) for x, y in claimed)]:
        unique.setdefault(frozenset((a, b)), (a, b))
    return list(unique.values())


def seeds_needed(spread: Spread, margin: float, level: float) -> int | None:
    """The fewest seeds with which a difference of the margin is told from 0 with probability POWER; None: more than
    MOST, or no number, where the choice of problems alone is too much."""

    def enough(seeds: int) -> bool:
        stderr = spread.stderr(seeds)
        return stderr == 0 or power_at(margin / stderr, spread.df(seeds), level) >= POWER

    if not enough(MOST):
        return None
    low, high = MIN_SEEDS, MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _spread(
    a: str,
    b: str,
    recorded: Mapping[frozenset[str], Paired],
    like: Mapping[str, tuple[float, float, int]],
    guess: float | None,
) -> Spread | None:
    pair = recorded.get(frozenset((a, b)))
    if pair is not None and not pair.why:
        problems = max(pair.stderr**2 - pair.sd**2 / pair.n, 0.0)
        return Spread(pair.sd, problems, pair.problems, f"{pair.n} seeds of this study")
    if a in like and b in like:
        count = min(like[a][2], like[b][2])
        return Spread(math.hypot(like[a][1], like[b][1]), 0.0, 0, f"{count} runs of like arms, unpaired")
    return None if guess is None else Spread(guess, 0.0, 0, "a guess")


def _recorded(study: Study, out: Path) -> dict[frozenset[str], Paired]:
    """The differences of the study's own arms, where its runs are there."""
    try:
        results = load_results(out / study.name)
        endpoint = results.endpoint
    except ValueError:  # none has finished, or they cannot be compared: the report says why
        return {}
    decisions = Decisions(results, study.report.margin / 100)
    known = [arm for arm in results.runs if results.seeds(arm)]
    pairs = [(a, b) for a, b in asked_pairs(study) if a in known and b in known]
    return {frozenset(p): decisions.measure(Contrast(*p, (endpoint, "exact_match", 1.0))) for p in pairs}


def _like_arms(study: Study, out: Path) -> dict[str, tuple[float, float, int]]:
    """By arm: mean and SD of the endpoint over seeds, and their number, of runs of its model, task, algorithm and
    budget."""
    by_kind: dict[str, dict[Path, list[float]]] = {}
    for folder in run_folders(out):
        record = _finished(folder)
        if record is None or "tune" in folder.parts:
            continue
        value = endpoint_of(record)
        if value is not None:
            by_kind.setdefault(_kind(record["config"]), {}).setdefault(folder.parent, []).append(value)
    found: dict[str, tuple[float, float, int]] = {}
    for run in study.runs():
        groups = by_kind.get(_kind(run.config(str(out)).as_dict()), {})
        spreads = [(np.mean(v), np.var(v, ddof=1), len(v)) for v in groups.values() if len(v) >= MIN_SEEDS]
        if spreads and run.arm not in found:
            means, variances, counts = zip(*spreads, strict=True)
            found[run.arm] = (float(np.median(means)), math.sqrt(float(np.mean(variances))), int(sum(counts)))
    return found


def _kind(config: Mapping[str, Any]) -> str:
    """Runs of one kind: what they are called by may differ, and the algorithm's fields."""
    names = ("model", "task_name", "task", "algo_name", "budget", "eval_split")
    return json.dumps([config.get(name) for name in names], sort_keys=True, default=str)


def _finished(folder: Path) -> Record | None:
    """None where a record cannot be read or has not finished: the estimate does without it."""
    try:
        record = read_record(folder)
        if record is not None:
            check_record(record, record_place(folder))
    except ValueError:
        return None
    return record if record is not None and record["status"] == "finished" else None
