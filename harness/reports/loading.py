"""The records of a study as arrays: who ran, what was measured, and whether it may be compared at all.

Reading is strict.  A folder without records, a record of another schema, a finished run without its evaluation, arms
that differ in task, data, start model or budget: one line that names the file.  A run that failed, was cut off or
never began is no error: it is kept, and shown as what it is.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.run_config import RunConfig
from harness.records.fingerprint import config_differences
from harness.records.io import read_record
from harness.records.schema import check_record
from harness.studies.study import Study, written

Key = tuple[str, str, str]  # task, filter, metric


@dataclass(frozen=True)
class Run:
    """One record, its rounds, and where they lie."""

    arm: str
    seed: int
    folder: Path
    record: dict[str, Any] = field(repr=False)

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
        """In every unit, at a point of the curve."""
        return next(r["spend"] for r in self.record["evals"] if r["fraction"] == fraction)

    def metrics(self) -> list[dict[str, Any]]:
        """The rounds; none where the run has not come to one."""
        file = self.folder / "metrics.jsonl"
        try:
            return _tables(file.read_text())
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise ValueError(f"{file}: not a line of JSON each: {error}") from error

    def outcomes(self, task: str, fraction: float) -> list[dict[str, Any]]:
        """One table a problem.  Raises ValueError naming the file where it is not there or not whole."""
        named = [r for r in self.record["evals"] if (r["task"], r["fraction"]) == (task, fraction) and r["outcomes"]]
        if not named:
            return []
        file = self.folder / named[0]["outcomes"]
        try:
            found = _tables(gzip.decompress(file.read_bytes()).decode())
            verdicts = [o["strict"] for o in found]
        except (OSError, EOFError, zlib.error, LookupError, ValueError) as error:
            raise ValueError(f"{file}: cannot read the outcomes of '{task}': {error}") from error
        if len(verdicts) != named[0]["n"]:
            raise ValueError(f"{file}: {len(found)} outcomes, where the record counts {named[0]['n']}")
        return found


def _tables(text: str) -> list[dict[str, Any]]:
    """A table a line.  Raises ValueError."""
    found = [json.loads(line) for line in text.splitlines()]
    if not all(isinstance(table, dict) for table in found):
        raise ValueError("a line is no table")
    return found


@dataclass(frozen=True)
class Task:
    """An evaluation set, as the records describe it."""

    name: str
    domain: str
    decoding: str
    temperature: float
    n: int


@dataclass(frozen=True)
class Results:
    """A study and its runs.  `runs[arm][seed]`; `trials[arm][trial][seed]`."""

    study: Study
    runs: dict[str, dict[int, Run]]
    trials: dict[str, dict[str, dict[int, Run]]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Run]:
        return (run for by_seed in self.runs.values() for run in by_seed.values())

    @property
    def one(self) -> Run:
        """Any finished run, for what all of them share."""
        return next(run for run in self if run.finished)

    @property
    def fractions(self) -> list[float]:
        """The points that every finished run has."""
        shared = [{r["fraction"] for r in run.record["evals"]} for run in self if run.finished]
        return sorted(set.intersection(*shared))

    @property
    def at_k(self) -> list[tuple[str, str]]:
        """(task, metric) of pass@k and maj@k at the end, where every finished run has them; pass before maj."""
        kinds = ("pass@", "maj@")
        sets = [
            {
                (r["task"], r["metric"])
                for r in run.record["evals"]
                if r["fraction"] == 1 and r["metric"].startswith(kinds)
            }
            for run in self
            if run.finished
        ]
        return sorted(set.intersection(*sets), key=lambda x: (x[0], x[1][0] == "m", int(x[1].split("@")[1])))

    @property
    def tasks(self) -> list[Task]:
        """What is measured at every point, in domain first, as the records have them."""
        one, places = self.one.values(), self.fractions
        repeated = {r["task"] for r in self.one.record["evals"] if r["metric"].startswith("pass@")}
        rows = [
            r
            for r in self.one.record["evals"]
            if r["filter"] == "strict"
            and r["metric"] == "exact_match"
            and r["task"] not in repeated
            and all((f, (r["task"], "strict", "exact_match")) in one for f in places)
        ]
        found = {r["task"]: Task(r["task"], r["domain"], r["decoding"], r["temperature"], r["n"]) for r in rows}
        order = ("in", "out", "retention")
        return sorted(found.values(), key=lambda t: order.index(t.domain) if t.domain in order else len(order))

    @property
    def endpoint(self) -> str:
        """The evaluation set of the primary endpoint.  Raises ValueError where there is no such set."""
        asked = self.study.report.endpoint
        fit = [
            t.name for t in self.tasks if asked == t.name or (asked == "in" and t.domain == "in" and not t.temperature)
        ]
        if not fit:
            raise ValueError(f"report.endpoint: no set '{asked}'; valid: {', '.join(t.name for t in self.tasks)}")
        return fit[0]

    def seeds(self, *arms: str) -> list[int]:
        """The seeds that have finished in all of these arms."""
        sets = [{seed for seed, run in self.runs[arm].items() if run.finished} for arm in arms]
        return sorted(set.intersection(*sets)) if sets else []

    def value_SF(self, arm: str, key: Key, fractions: list[float], seeds: list[int]) -> np.ndarray:
        """Values [S, F] of an arm.  Raises ValueError naming the run where a metric is not there."""
        rows = []
        for seed in seeds:
            run = self.runs[arm][seed]
            values = run.values()
            missing = [f for f in fractions if (f, key) not in values]
            if missing:
                have = sorted({" ".join(k) for _, k in values})
                said = f"no {' '.join(key)} at fraction {missing[0]:g}; it has {', '.join(have)}"
                raise ValueError(f"{run.folder / 'record.json'}: {said}")
            rows.append([values[f, key] for f in fractions])
        return np.array(rows, dtype=np.float64).reshape(len(seeds), len(fractions))

    def hit_SI(self, arm: str, task: str, fraction: float, seeds: list[int]) -> np.ndarray:
        """Right or wrong [S, I], strict; [S, 0] where outcomes were not kept."""
        rows = [[o["strict"] == "correct" for o in self.runs[arm][seed].outcomes(task, fraction)] for seed in seeds]
        if not all(rows):
            return np.zeros((len(seeds), 0))
        return np.array(rows, dtype=np.float64).reshape(len(seeds), -1)


# --- reading ----------------------------------------------------------------------------------------------------


def read(folder: Path) -> Results:
    """A study's folder (or one run's), checked.  Raises ValueError as the module says."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    alone = _record(folder)
    if alone is not None:
        arm, seed = Path(alone["algo"]).stem, alone["seed"]
        runs = {arm: {seed: Run(arm, seed, folder, alone)}}
        results = Results(_bare(folder.name, runs), runs)
    else:
        results = _study(folder)
    check(results, folder)
    return results


def _record(folder: Path) -> dict[str, Any] | None:
    """As `read_record`, with all that a report reads."""
    record = read_record(folder)
    if record is not None:
        check_record(record, folder / "record.json")
    return record


def _bare(name: str, runs: Mapping[str, Mapping[int, Run]]) -> Study:
    """The study that a folder of records is, where nobody wrote one down."""
    arms: dict[str, dict[str, Any]] = {arm: {"seeds": sorted(by_seed)} for arm, by_seed in runs.items()}
    return Study(name=name, arms=arms, seeds=sorted({seed for by_seed in runs.values() for seed in by_seed}))


def _study(folder: Path) -> Results:
    study = written(folder)
    arms = list(study.arms) if study else sorted(p.parent.parent.name for p in folder.glob("*/seed*/record.json"))
    runs = {arm: _runs(arm, folder / arm) for arm in dict.fromkeys(arms)}
    if not any(runs.values()):
        raise ValueError(f"{folder}: no records; a study's folder holds ARM/seed<k>/record.json")
    trials: dict[str, dict[str, dict[int, Run]]] = {}
    if study is not None and study.tune is not None:
        root = (folder.parent / study.tune.store if study.tune.store else folder) / "tune"
        for cell in study.trials():
            run = _runs(cell.arm, root / cell.arm / Path(cell.folder).name).get(cell.seed)
            if run is not None:
                trials.setdefault(cell.arm, {}).setdefault(Path(cell.folder).name, {})[cell.seed] = run
    return Results(study or _bare(folder.name, runs), runs, trials)


def _runs(arm: str, folder: Path) -> dict[int, Run]:
    found: dict[int, Run] = {}
    for file in sorted(folder.glob("seed*/record.json")):
        record = _record(file.parent)
        assert record is not None
        run = Run(arm, record["seed"], file.parent, record)
        if run.seed in found:
            raise ValueError(f"{file}: seed {run.seed} of '{arm}' is in {found[run.seed].folder.name} as well")
        found[run.seed] = run
    return dict(sorted(found.items()))


SHARED = ("task_name", "task", "model", "eval_split", "max_new_tokens", "temperature")  # of the configuration


def check(results: Results, folder: Path) -> None:
    """May these runs be compared?  Raises ValueError naming two files and what differs."""
    ended = [run for run in results if run.finished]
    if not ended:
        raise ValueError(f"{folder}: no run has finished; {next(iter(results)).folder} is {next(iter(results)).status}")
    for run in ended:
        if not run.record["evals"]:
            raise ValueError(f"{run.folder / 'record.json'}: finished, but nothing was evaluated")
    first = ended[0]
    for run in ended[1:]:
        for name, one, other in _compared(first, run):
            if one != other:
                raise ValueError(f"{run.folder / 'record.json'}: {name} is {other}, in {first.folder} it is {one}")
    for by_seed in results.runs.values():
        alike = [run for run in by_seed.values() if run.finished]
        for run in alike[1:]:
            differ = config_differences(*_known(alike[0], run))
            if differ := [d for d in differ if not d.startswith("seed: ")]:
                said = f"another configuration than {alike[0].folder.name}: {'; '.join(differ)}"
                raise ValueError(f"{run.folder / 'record.json'}: {said}")
    task = results.endpoint
    for run in ended:
        if (1.0, (task, "strict", "exact_match")) not in run.values():
            raise ValueError(f"{run.folder / 'record.json'}: finished, but '{task}' was not evaluated at the end")


def _known(a: Run, b: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configurations in the fields that both could have: what is newer than a record had its default."""
    defaults, configs = RunConfig().as_dict(), [run.record["config"] for run in (a, b)]
    shared = {group: set.intersection(*(set(c.get(group, {})) for c in configs)) for group in ("algo", "schedule")}
    inner = [{g: {k: c[g][k] for k in names if g in c} for g, names in shared.items()} for c in configs]
    one, other = ({**defaults, **c, **i} for c, i in zip(configs, inner, strict=True))
    return one, other


def _compared(a: Run, b: Run) -> Iterator[tuple[str, Any, Any]]:
    one, other = _known(a, b)
    for name in SHARED:
        yield name, one[name], other[name]
    yield "budget", a.record["budget"], b.record["budget"]
    yield "the start model", a.record["environment"]["model"], b.record["environment"]["model"]
    data = [{d["name"]: d["sha256"][:12] for d in run.record["environment"]["data"]} for run in (a, b)]
    for name in dict.fromkeys([*data[0], *data[1]]):
        yield f"the evaluation data of '{name}'", data[0].get(name), data[1].get(name)
    one, other = ({r["task"]: r["version"] for r in run.record["evals"]} for run in (a, b))
    yield "the tasks' versions", one, other
