"""The records of a pipeline as numbers.  Reading is strict, as that of a study: a record that contradicts itself, or
stages of one seed that do not fit together, are a ValueError of one line that names the file.

Shapes: S seeds, I problems.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.accounting.budget import UNITS
from harness.pipelines import storage
from harness.pipelines.schema import Pipeline, Stage
from harness.records.runs import run_folders
from harness.reports.loading import RunRecord, checked_record

Spent = dict[str, float]  # unit -> amount


@dataclass(frozen=True)
class PipelineResults:
    """`runs[stage][seed]`: all that have a record, finished or not."""

    pipeline: Pipeline
    runs: dict[str, dict[int, RunRecord]] = field(repr=False)
    later: list[int]  # seeds that were added after the first run

    @property
    def seeds(self) -> list[int]:
        """Those of which every stage and every control has finished."""
        return [seed for seed in self.pipeline.seeds if all(self._finished(s.name, seed) for s in self.pipeline.all)]

    def _finished(self, stage: str, seed: int) -> bool:
        return seed in self.runs[stage] and self.runs[stage][seed].finished

    @property
    def trained(self) -> list[Stage]:
        """The stages that leave another model than they begin with."""
        return [stage for stage in self.pipeline.stages if stage.kind != "rejection_sample"]

    @property
    def endpoint(self) -> str:
        """The evaluation set that stages are compared on.  Raises ValueError where there is no such set."""
        name, run = self.pipeline.endpoint, self.runs[self.trained[-1].name][self.seeds[0]]
        rows = [r for r in run.record["evals"] if r["fraction"] == 1 and r["filter"] == "strict"]
        found = [r["task"] for r in rows if r["task"] == name or (name == "in" and r["domain"] == "in")]
        greedy = [t for t in found if name != "in" or next(r for r in rows if r["task"] == t)["decoding"] == "greedy"]
        if not greedy:
            valid = ", ".join(dict.fromkeys(r["task"] for r in rows))
            raise ValueError(f"{run.file}: endpoint: no set '{name}'; valid: {valid}")
        return str(greedy[0])

    @property
    def sets(self) -> list[str]:
        """The evaluation sets of the last stage, the endpoint first."""
        rows = self.runs[self.trained[-1].name][self.seeds[0]].record["evals"]
        return list(dict.fromkeys([self.endpoint, *(r["task"] for r in rows if r["metric"] == "exact_match")]))

    def value_S(self, stage: str, task: str, fraction: float = 1.0) -> np.ndarray:
        """Strict accuracy, seed by seed; nan where it was not measured."""
        key = (fraction, (task, "strict", "exact_match"))
        return np.array([self.runs[stage][seed].values().get(key, np.nan) for seed in self.seeds])

    def hit_SI(self, stage: str, task: str, fraction: float = 1.0) -> np.ndarray:
        """Correct (1) or not (0) of each problem, strict; (0, 0) where no outcomes are kept."""
        rows = [
            [outcome["strict"] == "correct" for outcome in self.runs[stage][seed].outcomes(task, fraction)]
            for seed in self.seeds
        ]
        return np.array(rows, dtype=np.float64) if all(rows) and len({*map(len, rows)}) == 1 else np.zeros((0, 0))

    def spent(self, stage: str, seed: int) -> Spent:
        spend = self.runs[stage][seed].record["spend"]
        return {unit: float(spend[unit]) for unit in UNITS}

    def whole(self, seed: int) -> Spent:
        """What the stages of a seed spent together: what the budget is charged."""
        parts = [self.spent(stage.name, seed) for stage in self.pipeline.stages]
        return {unit: sum(part[unit] for part in parts) for unit in UNITS}

    def mean_spent(self, stage: str) -> Spent:
        parts = [self.spent(stage, seed) for seed in self.seeds]
        return {unit: sum(part[unit] for part in parts) / len(parts) for unit in UNITS}


def load(folder: Path) -> PipelineResults:
    """Raises ValueError, one line that names the file, where there is nothing to compare."""
    pipeline = storage.stored(folder)
    runs: dict[str, dict[int, RunRecord]] = {stage.name: {} for stage in pipeline.all}
    for place in run_folders(folder, "seed*/*"):
        record = checked_record(place)
        if record is not None and place.name in runs:
            run = RunRecord(place.name, record["seed"], place, record)
            if place.parent.name != f"seed{run.seed}":
                raise ValueError(f"{run.file}: it is of seed {run.seed}, and lies in {place.parent.name}")
            runs[place.name][run.seed] = run
    results = PipelineResults(pipeline, runs, storage.later_seeds(folder, pipeline))
    if not results.seeds:
        begun = sum(map(len, runs.values()))
        raise ValueError(f"{folder}: of no seed all stages have finished; {begun} runs have a record")
    _check_chain(results)
    return results


def _check_chain(results: PipelineResults) -> None:
    """A stage began with what the stage before it had made: the same seed's, and measured on the same problems."""
    first = results.runs[results.trained[0].name][results.seeds[0]]
    data = first.record["environment"]["data"]
    for stage in results.pipeline.all:
        for seed in results.seeds:
            run = results.runs[stage.name][seed]
            if run.record["environment"]["data"] != data:
                raise ValueError(f"{run.file}: its evaluation data are others than those of {first.file}")
            config = run.record["config"]
            for name, needed in stage.needs.items():
                if f"/seed{seed}/{needed}/" not in f"/{config.get(name, '')}":
                    raise ValueError(f"{run.file}: {name} is {config.get(name)!r}, not that of stage '{needed}'")
