"""The records of a study as arrays, after a check that its runs may be compared.

Reading is strict.  A folder without records, a record of another schema, a finished run without its evaluation, arms
that differ in task, data, start model or budget: ValueError, one line that names the file.  A run that failed, was
interrupted or did not start is not an error: it is kept with its status.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.records import runs as run_store
from harness.records.fingerprint import config_differences
from harness.records.schema import Record, check_record
from harness.reports.comparable import must_agree, shared_fields
from harness.reports.consistency import check_consistent, check_hash
from harness.studies.fairness.tuning import planned_trials
from harness.studies.registration import Lock, read_lock
from harness.studies.storage import stored_study
from harness.studies.study import Study

Key = tuple[str, str, str]  # task, filter, metric


@dataclass(frozen=True)
class RunRecord:
    """One run's record and its folder."""

    arm: str
    seed: int
    folder: Path
    record: Record = field(repr=False)

    @property
    def file(self) -> Path:
        """What holds the record, for messages."""
        return run_store.record_place(self.folder)

    @property
    def finished(self) -> bool:
        return bool(self.record["status"] == "finished")

    @property
    def status(self) -> str:
        reason = self.record.get("reason")
        return f"{self.record['status']}: {reason}" if reason else str(self.record["status"])

    def values(self) -> dict[tuple[float, Key], float]:
        """(fraction, (task, filter, metric)) -> value."""
        return {(r["fraction"], (r["task"], r["filter"], r["metric"])): r["value"] for r in self.record["evals"]}

    def spend(self, fraction: float) -> dict[str, float]:
        """Spend per unit at an evaluation; nan of what an imported run did not count."""
        spend = next(r["spend"] for r in self.record["evals"] if r["fraction"] == fraction)
        return {unit: math.nan if x is None else x for unit, x in spend.items()}

    def metrics(self) -> list[dict[str, Any]]:
        """One dict per round; empty if the run has not finished a round."""
        rounds = run_store.read_rounds(self.folder) or []
        for number, metrics in enumerate(rounds, 1):
            if wrong := [name for name, x in metrics.items() if type(x) not in (int, float)]:
                place = f"{run_store.rounds_place(self.folder)}:{number}"
                raise ValueError(f"{place}: {wrong[0]!r}: must be a number, not {metrics[wrong[0]]!r:.40}")
        return rounds

    def outcomes(self, task: str, fraction: float) -> list[dict[str, Any]]:
        """One dict per problem; empty if they were not kept.  Raises ValueError naming the file if it is broken."""
        rows = [r for r in self.record["evals"] if (r["task"], r["fraction"]) == (task, fraction) and r["outcomes"]]
        if not rows:
            return []
        file = run_store.outcomes_place(self.folder, rows[0]["outcomes"])
        outcomes = run_store.read_outcomes(self.folder, rows[0]["outcomes"], task)
        try:
            verdicts = [o["strict"] + "" for o in outcomes]  # each is text
        except (LookupError, TypeError) as error:
            raise ValueError(f"{file}: cannot read the outcomes of '{task}': {error}") from error
        if len(verdicts) != rows[0]["n"]:
            raise ValueError(f"{file}: {len(outcomes)} outcomes, but the record counts {rows[0]['n']}")
        return outcomes


@dataclass(frozen=True)
class EvalTask:
    """An evaluation set as described in the records."""

    name: str
    domain: str
    decoding: str
    temperature: float
    n: int


@dataclass(frozen=True)
class Results:
    """A study and its runs.  `runs[arm][seed]`; `trials[arm][trial][seed]`."""

    study: Study
    runs: dict[str, dict[int, RunRecord]]
    trials: dict[str, dict[str, dict[int, RunRecord]]] = field(default_factory=dict)
    lock: Lock | None = None  # what was asked before the first run

    def __iter__(self) -> Iterator[RunRecord]:
        return (run for by_seed in self.runs.values() for run in by_seed.values())

    @property
    def example(self) -> RunRecord:
        """Any finished run, for fields that are equal in all runs."""
        return next(run for run in self if run.finished)

    @property
    def fractions(self) -> list[float]:
        """The fractions at which every finished run was evaluated."""
        shared = [{r["fraction"] for r in run.record["evals"]} for run in self if run.finished]
        return sorted(set.intersection(*shared))

    @property
    def at_k(self) -> list[tuple[str, str]]:
        """(task, metric) of the pass@k and maj@k that every finished run has at the end; pass before maj."""
        ends = [[r for r in run.record["evals"] if r["fraction"] == 1] for run in self if run.finished]
        sets = [{(r["task"], r["metric"]) for r in end if r["metric"].startswith(("pass@", "maj@"))} for end in ends]
        return sorted(set.intersection(*sets), key=lambda x: (x[0], x[1][0] == "m", int(x[1].split("@")[1])))

    @property
    def tasks(self) -> list[EvalTask]:
        """The evaluation sets that are measured at every fraction, in domain first, without those of pass@k."""
        values, fractions = self.example.values(), self.fractions
        repeated = {r["task"] for r in self.example.record["evals"] if r["metric"].startswith("pass@")}
        rows = [
            r
            for r in self.example.record["evals"]
            if r["filter"] == "strict"
            and r["metric"] == "exact_match"
            and r["task"] not in repeated
            and all((f, (r["task"], "strict", "exact_match")) in values for f in fractions)
        ]
        tasks = {r["task"]: EvalTask(r["task"], r["domain"], r["decoding"], r["temperature"], r["n"]) for r in rows}
        order = ("in", "out", "retention")
        return sorted(tasks.values(), key=lambda t: order.index(t.domain) if t.domain in order else len(order))

    @property
    def endpoint(self) -> str:
        """The evaluation set of the primary endpoint; "in" is the first in domain, a greedy one if there is one.
        Raises ValueError if there is no such set."""
        name = self.study.report.endpoint
        inside = sorted((t for t in self.tasks if t.domain == "in"), key=lambda t: t.temperature > 0)
        matches = [t.name for t in (inside if name == "in" else self.tasks) if name in ("in", t.name)]
        if not matches:
            raise ValueError(f"report.endpoint: no set '{name}'; valid: {', '.join(t.name for t in self.tasks)}")
        return matches[0]

    def seeds(self, *arms: str) -> list[int]:
        """The seeds that have finished in all of these arms."""
        sets = [{seed for seed, run in self.runs[arm].items() if run.finished} for arm in arms]
        return sorted(set.intersection(*sets)) if sets else []

    def value_SF(self, arm: str, key: Key, fractions: list[float], seeds: list[int]) -> np.ndarray:
        """Values [S, F] of an arm.  Raises ValueError naming the run if a metric is missing."""
        rows = []
        for seed in seeds:
            run = self.runs[arm][seed]
            values = run.values()
            missing = [f for f in fractions if (f, key) not in values]
            if missing:
                valid = sorted({" ".join(k) for _, k in values})
                message = f"no {' '.join(key)} at fraction {missing[0]:g}; it has {', '.join(valid)}"
                raise ValueError(f"{run.file}: {message}")
            rows.append([values[f, key] for f in fractions])
        return np.array(rows, dtype=np.float64).reshape(len(seeds), len(fractions))

    def hit_SI(self, arm: str, task: str, fraction: float, seeds: list[int]) -> np.ndarray:
        """Correct (1) or not (0), strict [S, I], of several samples their mean; [S, 0] if outcomes were not kept."""
        rows = [[o["strict"] == "correct" for o in self.runs[arm][seed].outcomes(task, fraction)] for seed in seeds]
        if not all(rows):
            return np.zeros((len(seeds), 0))
        return np.array(rows, dtype=np.float64).reshape(len(seeds), -1, self.repeats(task)).mean(2)

    def repeats(self, task: str) -> int:
        """Samples of each problem of a set that is averaged over them (avg@K); 1 of any other."""
        metrics = [r["metric"] for r in self.example.record["evals"] if r["task"] == task]
        return next((int(m.partition("@")[2]) for m in metrics if m.startswith("avg@")), 1)


# --- reading ----------------------------------------------------------------------------------------------------


def load_results(folder: Path) -> Results:
    """Load and check the folder of a study or of one run.  Raises ValueError as described above."""
    if not folder.is_dir() and not run_store.has_record(folder):
        raise ValueError(f"{folder}: no such folder")
    alone = checked_record(folder)
    if alone is not None:
        run = RunRecord(Path(alone["algo"]).stem, alone["seed"], folder, alone)
        runs = {run.arm: {run.seed: run}}
        results = Results(bare_study(folder.name, runs), runs)
    else:
        results = _study(folder)
    check(results, folder)
    return results


def checked_record(folder: Path) -> Record | None:
    """`read_record`, with a check of every field that a report reads, and of whether they agree."""
    record = run_store.read_record(folder, check_hash)
    if record is not None:
        check_record(record, run_store.record_place(folder))
        check_consistent(record, folder)
    return record


def bare_study(name: str, runs: Mapping[str, Mapping[int, RunRecord]]) -> Study:
    """A study for a folder of records without study.json."""
    arms: dict[str, dict[str, Any]] = {arm: {"seeds": sorted(by_seed)} for arm, by_seed in runs.items()}
    return Study(name=name, arms=arms, seeds=sorted({seed for by_seed in runs.values() for seed in by_seed}))


def _study(folder: Path) -> Results:
    study = stored_study(folder)
    found = run_store.run_folders(folder, "*/seed*")
    arms = list(study.arms) if study else sorted(p.parent.name for p in found)
    runs = {arm: _runs(arm, folder / arm) for arm in dict.fromkeys(arms)}
    if not any(runs.values()):
        raise ValueError(f"{folder}: no records; a study's folder holds ARM/seed<k>/record.json")
    trials: dict[str, dict[str, dict[int, RunRecord]]] = {}
    if study is not None and study.tune is not None:
        root = (folder.parent / study.tune.store if study.tune.store else folder) / "tune"
        for cell in planned_trials(study, str(folder.parent)):
            run = _runs(cell.arm, root / cell.arm / Path(cell.folder).name).get(cell.seed)
            if run is not None:
                trials.setdefault(cell.arm, {}).setdefault(Path(cell.folder).name, {})[cell.seed] = run
    return Results(study or bare_study(folder.name, runs), runs, trials, read_lock(folder))


def _runs(arm: str, folder: Path) -> dict[int, RunRecord]:
    runs: dict[int, RunRecord] = {}
    for place in run_store.run_folders(folder, "seed*"):
        record = checked_record(place)
        assert record is not None
        run = RunRecord(arm, record["seed"], place, record)
        if run.seed in runs:
            raise ValueError(f"{run.file}: seed {run.seed} of '{arm}' is also in {runs[run.seed].folder.name}")
        runs[run.seed] = run
    return dict(sorted(runs.items()))


def check(results: Results, folder: Path) -> None:
    """Check that the runs may be compared.  Raises ValueError naming two files and what differs."""
    ended = [run for run in results if run.finished]
    if not ended:
        raise ValueError(f"{folder}: no run has finished; {next(iter(results)).folder} is {next(iter(results)).status}")
    for run in ended:
        if not run.record["evals"]:
            raise ValueError(f"{run.file}: finished, but nothing was evaluated")
    first = ended[0]
    for run in ended[1:]:
        for name, expected, value in must_agree(first.record, run.record):
            if value != expected:
                raise ValueError(f"{run.file}: {name} is {value}, in {first.folder} it is {expected}")
    for by_seed in results.runs.values():
        finished = [run for run in by_seed.values() if run.finished]
        for run in finished[1:]:
            differences = config_differences(*shared_fields(finished[0].record, run.record))
            if differences := [d for d in differences if not d.startswith("seed: ")]:
                other = f"another configuration than {finished[0].folder.name}"
                raise ValueError(f"{run.file}: {other}: {'; '.join(differences)}")
    task = results.endpoint
    for run in ended:
        if (1.0, (task, "strict", "exact_match")) not in run.values():
            raise ValueError(f"{run.file}: finished, but '{task}' was not evaluated at the end")
