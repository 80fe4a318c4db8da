"""Which trials an arm gets: those of its grid, and then further ones, until the best lies inside what was tried.

    grid.lr = [1e-4, 2e-4, 4e-4]      widen = 3      seeds: three, unless others are named

A stage gives one more trial to every arm: one step beyond the edge on which its best trial lies, at the step of the
grid there; where the best lies inside, one half-way (geometrically) between it and its better neighbour.  Stages go on
while the best of any arm lies at an edge, `widen` at most.  So every arm has the same number of trials, whatever it
needed; an arm with fewer points than others (`own` grids) first gets as many by such stages.

Trials follow from the records alone, so that an interrupted study goes on with the same ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.config.overrides import Fields
from harness.records.runs import read_record
from harness.studies.planned_run import PlannedRun, label
from harness.studies.schema import Tune
from harness.studies.status import endpoint_of, select_trial
from harness.studies.study import Study

Scores = dict[str, Sequence[float | None]]  # trial -> its endpoint by tuning seed; None: failed


def planned_trials(study: Study, out: str) -> list[PlannedRun]:
    """The trials of the grids, and those that the records under OUT have led to."""
    return [run for arm, points in planned_points(study, out).items() for run in study.trials_of(arm, points)]


def planned_points(study: Study, out: str) -> dict[str, list[Fields]]:
    """By arm that is tuned: the fields of its trials so far."""
    tune = study.tune
    if tune is None:
        return {}
    points = {arm: tune.points(arm) for arm in study.arms if study.tuned_as(arm) == arm}
    most = max(map(len, points.values())) + tune.widen
    while True:
        target = max(map(len, points.values()))
        short = [arm for arm in points if len(points[arm]) < target]
        if not short and target == most:
            return points
        scores = {arm: _scores(study, out, arm, points[arm]) for arm in points}
        ended = {arm: s for arm, s in scores.items() if s is not None}
        if len(ended) < len(points):
            return points
        if not short and not any(edges(tune, points[arm], ended[arm]) for arm in points):
            return points
        added = {arm: further(tune, points[arm], ended[arm]) for arm in short or points}
        if not any(added.values()):
            return points
        points = {arm: [*known, *([new] if (new := added.get(arm)) else [])] for arm, known in points.items()}


def select_trials(study: Study, out: str) -> dict[str, Fields]:
    """The fields of each arm's best trial: the highest mean over tuning seeds, the first of equals.

    A trial of which a seed failed is not selected.  An arm whose trials have all failed is an error.
    """
    planned, selected = planned_points(study, out), {}
    for arm in study.arms if study.tune else ():
        tuned_as = study.tuned_as(arm)
        scores: dict[str, list[float | None]] = {}
        for run in study.trials_of(tuned_as, planned[tuned_as]):
            record = read_record(Path(out, run.path))
            scores.setdefault(Path(run.folder).name, []).append(endpoint_of(record) if record else None)
        best = select_trial(scores)
        if best is None:
            raise ValueError(f"tune: no trial of arm '{tuned_as}' has finished for every tuning seed")
        selected[arm] = next(point for point in planned[tuned_as] if label(point) == best)
    return selected


def _scores(study: Study, out: str, arm: str, points: Sequence[Fields]) -> Scores | None:
    """None where a trial has neither finished nor failed."""
    scores: dict[str, list[float | None]] = {}
    for run in study.trials_of(arm, points):
        record = read_record(Path(out, run.path))
        if record is None or record["status"] not in ("finished", "failed"):
            return None
        scores.setdefault(Path(run.folder).name, []).append(endpoint_of(record))
    return dict(scores)


def best_point(points: Sequence[Fields], scores: Scores) -> Fields | None:
    """None where every trial has failed for a seed."""
    best = select_trial(scores)
    return next((point for point in points if label(point) == best), None)


def edges(tune: Tune, points: Sequence[Fields], scores: Scores) -> list[tuple[str, float]]:
    """(field, the value one step beyond) where the best point lies at an edge of what was tried, within the bounds."""
    best, beyond = best_point(points, scores), []
    for name, values in numeric(points).items() if best else ():
        if best and best[name] in (values[0], values[-1]):
            value = _beyond(best[name], values[1] if best[name] == values[0] else values[-2])
            low, high = tune.bounds.get(name, (-math.inf, math.inf))
            value = min(max(value, low), high)
            if value != best[name]:
                beyond.append((name, value))
    return beyond


def further(tune: Tune, points: Sequence[Fields], scores: Scores) -> Fields | None:
    """One more point: beyond the first edge on which the best lies, else between the best and its better neighbour.
    None where there is no number to change."""
    best = best_point(points, scores)
    if best is None:
        return None
    beyond = [{**best, name: value} for name, value in edges(tune, points, scores)]
    between = [] if beyond else _between(best, points, scores)
    return next((point for point in (*beyond, *between) if point not in points), None)


def _between(best: Fields, points: Sequence[Fields], scores: Scores) -> list[Fields]:
    """Half-way points on both sides of the best, the widest gap first, and in it the side that scored better."""
    mean = {label(p): sum(x or 0.0 for x in scores[label(p)]) for p in points}
    found: list[tuple[float, float, Fields]] = []
    for name, values in numeric(points).items():
        place = values.index(best[name])
        for near in (values[place - 1] if place else None, values[place + 1] if place + 1 < len(values) else None):
            if near is not None:
                score = max(mean[label(p)] for p in points if p[name] == near)
                gap = abs(math.log(near / best[name])) if min(near, best[name]) > 0 else abs(near - best[name])
                found.append((-gap, -score, {**best, name: _middle(best[name], near)}))
    return [point for *_, point in sorted(found, key=lambda x: (round(x[0], 9), x[1]))]


def numeric(points: Sequence[Fields]) -> dict[str, list[float]]:
    """The fields of which several numbers were tried, with these in order."""
    tried = {name: [p[name] for p in points] for name in points[0]} if points else {}
    numbers = {n: sorted(set(v)) for n, v in tried.items() if all(type(x) in (int, float) for x in v)}
    return {name: values for name, values in numbers.items() if len(values) > 1}


def _beyond(edge: float, inner: float) -> float:
    """As far beyond the edge as the edge is from its neighbour: by ratio where both are positive."""
    value = edge * edge / inner if min(edge, inner) > 0 else 2 * edge - inner
    if type(edge) is int:
        return round(value) if round(value) != edge else edge + (1 if edge > inner else -1)
    return float(f"{value:.3g}")


def _middle(a: float, b: float) -> float:
    value = math.sqrt(a * b) if min(a, b) > 0 else (a + b) / 2
    return round(value) if type(a) is int and type(b) is int else float(f"{value:.3g}")


def still_possible(study: Study, planned: Mapping[str, Sequence[Fields]]) -> int:
    """Trials, of every arm together, that may come to these: what fills up the shorter grids, and the widening."""
    tune = study.tune
    if tune is None:
        return 0
    most = max(len(tune.points(arm)) for arm in planned) + tune.widen
    return sum(itertools.starmap(lambda _, points: most - len(points), planned.items()))


def planned_runs(study: Study, out: str) -> list[PlannedRun]:
    """Trials, then runs; these at the fields that the trials selected, where they have been: folders are the same."""
    try:
        tuned = select_trials(study, out)
    except ValueError:  # they have not all finished
        tuned = {}
    return [*planned_trials(study, out), *study.runs(tuned)]
