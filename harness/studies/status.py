"""The cells of a study and their records: what is done, what is to do, and which trial was best.

A cell that is finished is skipped, one that was cut off goes on from its checkpoint, one that failed is kept and
shown, and not tried again unless asked.  A cell whose record was made under another configuration is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.overrides import Fields
from harness.records.fingerprint import config_differences, config_sha256
from harness.records.io import read_record
from harness.studies.planned_run import Cell, label
from harness.studies.study import Study


def endpoint_of(record: Mapping[str, Any]) -> float | None:
    """In-domain greedy strict accuracy at the last point: what a trial is judged by, on its selection split."""
    rows = [
        r
        for r in record["evals"]
        if (r["domain"], r["decoding"], r["filter"], r["metric"]) == ("in", "greedy", "strict", "exact_match")
    ]
    return float(rows[-1]["value"]) if rows and record["status"] == "finished" else None


def choose_trial(trials: Mapping[str, Sequence[float | None]]) -> str | None:
    """The trial with the highest mean over its seeds, the first of equals; one that lacks a seed is out.

    >>> choose_trial({"lr1": [0.5, 0.7], "lr2": [0.9, None], "lr3": [0.7, 0.5]})
    'lr1'
    """
    whole = {t: sum(v for v in values if v is not None) for t, values in trials.items() if None not in values}
    return max(whole, key=lambda t: round(whole[t], 12)) if whole else None


def choose(study: Study, out: str) -> dict[str, Fields]:
    """The best trial of each arm: the highest mean over tuning seeds, the first of equals.

    A trial of which a seed failed is not chosen; an arm whose trials have all failed is an error.
    """
    if study.tune is None:
        return {}
    found: dict[str, dict[str, list[float | None]]] = {}
    for cell in study.trials():
        record = read_record(Path(out, cell.path))
        found.setdefault(cell.arm, {}).setdefault(Path(cell.folder).name, []).append(
            endpoint_of(record) if record else None
        )
    chosen = {}
    for arm in study.arms:
        best = choose_trial(found[study.tuned_as(arm)])
        if best is None:
            raise ValueError(f"tune: no trial of arm '{study.tuned_as(arm)}' has finished for every tuning seed")
        chosen[arm] = next(point for point in study.tune.points() if label(point) == best)
    return chosen


@dataclass
class State:
    """What is done and what is to do."""

    done: list[Cell] = field(default_factory=list)
    failed: list[Cell] = field(default_factory=list)
    waiting: list[Cell] = field(default_factory=list)


def check_different(study: Study) -> None:
    """An arm that changes nothing is no arm: it would be another's runs again, bit for bit.  Raises ValueError naming
    two whose configurations are equal and which share a seed."""
    one = {cell.arm: resolved_of(cell, "results") for cell in study.runs()}
    sha = {arm: config_sha256({k: v for k, v in config.items() if k != "seed"}) for arm, config in one.items()}
    for a, b in itertools.combinations(one, 2):
        same = sha[a] == sha[b] and (study.tune is None or sha[study.tuned_as(a)] == sha[study.tuned_as(b)])
        if same and set(study.seeds_of(a)) & set(study.seeds_of(b)):
            raise ValueError(f"arms.{b}: changes nothing: every field is as in arm '{a}', and they share seeds")


def resolved_of(cell: Cell, out: str) -> dict[str, Any]:
    """Raises ValueError naming the arm."""
    from harness.config.experiment import built

    config = cell.config(out)
    try:
        return built(config).as_dict()
    except ValueError as error:
        raise ValueError(f"arm '{cell.arm}': {error}") from error


def state_of(cells: Sequence[Cell], out: str, retry: bool = False) -> State:
    """Raises ValueError where a cell's folder holds a run of another configuration, naming the fields that differ."""
    from harness.config.experiment import filled

    state = State()
    for cell in cells:
        config, record = cell.config(out), read_record(Path(out, cell.path))
        wanted = resolved_of(cell, out)
        if record is None:
            state.waiting.append(cell)
            continue
        if differ := config_differences(filled(record["config"], config.algo_name, config.task_name), wanted):
            raise ValueError(
                f"{Path(out, cell.path)} was begun with another configuration: {'; '.join(differ)}; "
                f"choose another --name, or move it away"
            )
        if record["status"] == "finished":
            state.done.append(cell)
        elif record["status"] == "failed" and not retry:
            state.failed.append(cell)
        else:
            state.waiting.append(cell)
    return state


def describe(stage: str, state: State) -> str:
    """ "30 runs: 12 finished, 1 failed, 17 to do"."""
    whole = len(state.done) + len(state.failed) + len(state.waiting)
    said = [(len(state.done), "finished"), (len(state.failed), "failed (kept; --retry tries them again)")]
    counts = [f"{n} {word}" for n, word in said if n] + [f"{len(state.waiting)} to do"]
    return f"{whole} {stage}: {', '.join(counts)}"
