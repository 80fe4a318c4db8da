"""The finished control runs of one arm, from its folder ARM/seed<k>, and the values that the checks compare.

Every function raises ValueError, naming the file, if a finished run lacks a value.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records.fingerprint import config_differences
from harness.records.runs import read_record, record_place, rounds_place, run_folders
from harness.records.upgrade import upgrade_own
from harness.reports.loading import RunRecord

CLOCKS = ("time", "seconds", "perf", "mem")  # parts of the names of values that differ between two equal runs


@dataclass(frozen=True)
class ControlRuns:
    """Finished runs by seed, with equal configurations but for the seed; `unfinished`: for example "seed7 (failed)"."""

    name: str
    runs: dict[int, RunRecord]
    unfinished: list[str]


def read_control_runs(folder: Path) -> ControlRuns:
    """The runs in the folder of an arm; none if there is no folder."""
    runs: dict[int, RunRecord] = {}
    unfinished = []
    places = {p for p in folder.glob("seed*") if p.is_dir()} | set(run_folders(folder, "seed*"))
    numbers = [p.name.removeprefix("seed") for p in places]
    for seed in sorted(int(x) for x in numbers if x.isdigit()):
        place = folder / f"seed{seed}"
        record, file = read_record(place), record_place(place)
        if record is None or record["status"] != "finished":
            unfinished.append(f"seed{seed} ({record['status'] if record else 'no record'})")
            continue
        runs[seed] = RunRecord(folder.name, seed, place, record)
        if record_value(runs[seed], "seed") != seed:
            raise ValueError(f"{file}: the record of seed {record['seed']}")
        first = next(iter(runs.values()))
        if changes := [x for x in config_changes(first, runs[seed]) if not x.startswith("seed: ")]:
            raise ValueError(f"{file}: another configuration than {first.folder.name}: {'; '.join(changes)}")
    return ControlRuns(folder.name, runs, unfinished)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not the file of a finished run: {error!r}") from error


def record_value(run: RunRecord, path: str) -> Any:
    """A field of the record: "config.algo.clip_low"."""
    value: Any = run.record
    with _naming(run.file):
        for name in path.split("."):
            value = value[name]
    return value


def shared_seeds(a: ControlRuns, b: ControlRuns) -> list[int]:
    """The seeds that both arms have finished."""
    return sorted({*a.runs} & {*b.runs})


def config_changes(a: RunRecord, b: RunRecord) -> list[str]:
    """The fields in which the configurations of two runs differ: "algo.clip_low: 0.2 -> 0.4"."""
    of_a, of_b = record_value(a, "config"), record_value(b, "config")
    inherited = upgrade_own(of_b["algo"], of_a["algo"])  # an old run of a FILE.py has old names for what it inherits
    return config_differences(of_a, {**of_b, "algo": inherited})


def accuracy(run: RunRecord, decoding: str, fraction: float) -> float:
    """Strict accuracy in domain, at a fraction of the budget."""
    keys = ("domain", "filter", "metric", "decoding", "fraction")
    wanted = ("in", "strict", "exact_match", decoding, fraction)
    with _naming(run.file):
        evals: list[dict[str, Any]] = [dict(row) for row in run.record["evals"]]
        values = [float(row["value"]) for row in evals if tuple(row[k] for k in keys) == wanted]
        if len(values) != 1 or not 0 <= values[0] <= 1:
            raise ValueError(f"{decoding} accuracy in domain at {fraction:g} of the budget: {values}")
    return values[0]


def rounds(run: RunRecord) -> list[dict[str, Any]]:
    """The metrics of every round, of which a finished run has at least one."""
    metrics = run.metrics()
    if not metrics:
        raise ValueError(f"{rounds_place(run.folder)}: a finished run has rounds")
    return metrics


def first_and_last(run: RunRecord, metric: str) -> tuple[float, float]:
    """The value of a metric in the first and in the last round."""
    with _naming(rounds_place(run.folder)):
        first, last = (float(rounds(run)[i][metric]) for i in (0, -1))
    return first, last


def reproducible_values(run: RunRecord) -> dict[str, str]:
    """Every value that an equal training reproduces bitwise: metrics of all rounds, evaluations and spend, as JSON by
    their place ("round 2 loss"), without measurements of time and memory."""
    return dict(
        _leaves({"round": rounds(run), "evals": record_value(run, "evals"), "spend": record_value(run, "spend")})
    )


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value, 1):
            if not any(word in str(name) for word in CLOCKS):
                yield from _leaves(inner, f"{place} {name}".strip())
    else:
        yield place, json.dumps(value)


def describe_runs(*arms: ControlRuns) -> str:
    """ "`grpo`: 39 runs, commit 1b5df44; left out: seed7 (failed)"."""
    return "; ".join(map(_describe, arms))


def _describe(arm: ControlRuns) -> str:
    commits: Counter[str] = Counter()
    for run in arm.runs.values():
        changes = " with changes" if record_value(run, "environment.dirty") else ""
        commits[f"{str(record_value(run, 'environment.commit'))[:7]}{changes}"] += 1
    revisions = [f"commit {commit}{f' ({n})' if len(commits) > 1 else ''}" for commit, n in sorted(commits.items())]
    left = f"; left out: {', '.join(arm.unfinished)}" if arm.unfinished else ""
    runs = f"{len(arm.runs)} run{'s' * (len(arm.runs) != 1)}"
    return f"`{arm.name}`: {', '.join([runs, *revisions])}{left}"
