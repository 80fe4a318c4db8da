"""The runs of a study and their records: what is done, what is to do, and which trial was best.

A finished run is skipped, an interrupted one resumes from its checkpoint.  A failed one is kept and shown, and is tried
again only on request.  A run whose record was made under another configuration is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.records.fingerprint import config_differences, config_sha256
from harness.records.runs import read_record
from harness.records.upgrade import upgrade_own
from harness.studies.planned_run import PlannedRun
from harness.studies.study import Study


def endpoint_of(record: Mapping[str, Any]) -> float | None:
    """In-domain greedy strict accuracy at the last point, by which trials are compared (on the selection split)."""
    rows = [
        r
        for r in record["evals"]
        if (r["domain"], r["decoding"], r["filter"], r["metric"]) == ("in", "greedy", "strict", "exact_match")
    ]
    return float(rows[-1]["value"]) if rows and record["status"] == "finished" else None


def select_trial(trials: Mapping[str, Sequence[float | None]]) -> str | None:
    """The trial with the highest mean over its seeds, the first of equals; one that lacks a seed is out.

    >>> select_trial({"lr1": [0.5, 0.7], "lr2": [0.9, None], "lr3": [0.7, 0.5]})
    'lr1'
    """
    sums = {t: sum(v for v in values if v is not None) for t, values in trials.items() if None not in values}
    return max(sums, key=lambda t: round(sums[t], 12)) if sums else None


@dataclass
class State:
    """What is done and what is to do."""

    done: list[PlannedRun] = field(default_factory=list)
    failed: list[PlannedRun] = field(default_factory=list)
    waiting: list[PlannedRun] = field(default_factory=list)


def check_different(study: Study) -> None:
    """Raises ValueError naming two arms whose configurations are equal and which share a seed: the second would repeat
    the first one's runs bit for bit."""
    configs = {run.arm: resolved_config(run, "results") for run in study.runs()}
    sha = {arm: config_sha256({k: v for k, v in config.items() if k != "seed"}) for arm, config in configs.items()}
    for a, b in itertools.combinations(configs, 2):
        same = sha[a] == sha[b] and (study.tune is None or sha[study.tuned_as(a)] == sha[study.tuned_as(b)])
        if same and set(study.seeds_of(a)) & set(study.seeds_of(b)):
            raise ValueError(f"arms.{b}: changes nothing: every field is as in arm '{a}', and they share seeds")


def resolved_config(run: PlannedRun, out: str) -> dict[str, Any]:
    """The configuration as the run's record will hold it.  Raises ValueError naming the arm."""
    from harness.config.experiment import resolve_experiment

    config = run.config(out)
    try:
        return resolve_experiment(config).as_dict()
    except ValueError as error:
        raise ValueError(f"arm '{run.arm}': {error}") from error


def state_of(runs: Sequence[PlannedRun], out: str, retry: bool = False) -> State:
    """Raises ValueError where a run's folder has a record of another configuration, naming the fields that differ."""
    from harness.config.experiment import with_defaults

    state = State()
    for run in runs:
        config, record = run.config(out), read_record(Path(out, run.path))
        resolved = resolved_config(run, out)
        if record is None:
            state.waiting.append(run)
            continue
        began = {**record["config"], "algo": upgrade_own(record["config"].get("algo", {}), resolved["algo"])}
        recorded = with_defaults(began, config.algo_name, config.task_name)
        if differences := config_differences(recorded, resolved):
            raise ValueError(
                f"{Path(out, run.path)} was begun with another configuration: {'; '.join(differences)}; "
                f"choose another --name, or move it away"
            )
        if record["status"] == "finished":
            state.done.append(run)
        elif record["status"] == "failed" and not retry:
            state.failed.append(run)
        else:
            state.waiting.append(run)
    return state


def describe(stage: str, state: State) -> str:
    """For example "30 runs: 12 finished, 1 failed (kept; ...), 17 to do"."""
    total = len(state.done) + len(state.failed) + len(state.waiting)
    ended = [(len(state.done), "finished"), (len(state.failed), "failed (kept; --retry tries them again)")]
    counts = [f"{n} {word}" for n, word in ended if n] + [f"{len(state.waiting)} to do"]
    return f"{total} {stage}: {', '.join(counts)}"
