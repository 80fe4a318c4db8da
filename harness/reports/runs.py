"""`harness report RUN RUN ...`: runs that there are already, as a study.

Runs of one configuration, the seed apart, are an arm; it is called as its algorithm, with the fields in which arms of
one algorithm differ.  What a study must have in common (task, data, start model, budget) is checked as in a study.
Nothing was asked before they ran, and the report says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config.run_config import RunConfig
from harness.records.fingerprint import NEUTRAL, config_sha256
from harness.reports.loading import Results, RunRecord, bare_study, check, checked_record
from harness.studies.planned_run import label


def load_runs(folders: Sequence[Path], name: str) -> Results:
    """The runs in these folders.  Raises ValueError naming the folder that holds none, or two with one seed."""
    groups: dict[str, list[RunRecord]] = {}
    for folder in dict.fromkeys(folders):
        record = checked_record(folder)
        if record is None:
            raise ValueError(f"{folder}: not the folder of a run; several folders are compared run by run")
        config = {**RunConfig().as_dict(), **record["config"]}
        key = config_sha256({field: x for field, x in config.items() if field != "seed"})
        groups.setdefault(key, []).append(RunRecord("", record["seed"], folder, record))
    runs: dict[str, dict[int, RunRecord]] = {}
    for arm, members in zip(_names(list(groups.values())), groups.values(), strict=True):
        by_seed: dict[int, RunRecord] = {}
        for run in members:
            if run.seed in by_seed:
                raise ValueError(f"{run.folder}: the same configuration and seed as {by_seed[run.seed].folder}")
            by_seed[run.seed] = RunRecord(arm, run.seed, run.folder, run.record)
        runs[arm] = dict(sorted(by_seed.items()))
    results = Results(bare_study(name, runs), runs)
    check(results, Path(name))
    return results


def _names(groups: list[list[RunRecord]]) -> list[str]:
    """One per arm: its algorithm, and the values of the fields in which arms of this algorithm differ."""
    algos = [Path(members[0].record["algo"]).stem for members in groups]
    flat = [_flat(members[0].record["config"]) for members in groups]
    names = []
    for i, algo in enumerate(algos):
        same = [flat[j] for j, other in enumerate(algos) if other == algo]
        fields = sorted(set(itertools.chain(*same)))
        differing = {f: flat[i].get(f) for f in fields if any(x.get(f) != same[0].get(f) for x in same)}
        words = label({f: x for f, x in differing.items() if not f.startswith("schedule.")} or differing)
        names.append(f"{algo}-{words}" if len(same) > 1 else algo)
    return names


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Fields by dotted name, the seed and what changes no number left out."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name not in (*NEUTRAL, "seed"):
            flat |= {f"{name}.{k}": x for k, x in value.items()} if isinstance(value, dict) else {name: value}
    return flat
