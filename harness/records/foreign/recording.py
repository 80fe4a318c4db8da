"""Rounds and evaluations of a run that was trained elsewhere -> the folder of a run, OUT/ARM/seedK."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from evals.scoring.scorer import EvalRow, with_average
from evals.statistics.estimates import mean_stderr
from harness.accounting.budget import UNITS, Budget
from harness.records.fingerprint import config_sha256
from harness.records.foreign.outcomes import Answer, Evaluation
from harness.records.io import sha256, utc_now
from harness.records.recorder import Recorder
from harness.records.runs import has_record
from harness.records.schema import SCHEMA, EvaluationRow, Record

NEAR = 0.01  # of the budget: so close to it the last evaluation must be


@dataclass(frozen=True)
class Origin:
    """Where a run is from, and what its user has said of it."""

    trainer: str  # trl, verl, csv
    files: Sequence[Path]
    model: str
    algo: str | None = None  # None: the arm's name
    group_size: int | None = None
    temperature: float = 0.0  # of the evaluations
    budget: Budget | None = None  # None: what the run had spent at its last evaluation
    config: Mapping[str, Any] = field(default_factory=dict)  # what else is known of its settings

    @property
    def stated(self) -> dict[str, Any]:
        """What no file proves."""
        budget = f"{self.budget.unit}={self.budget.limit:g}" if self.budget else None
        said = {"model": self.model, "algo": self.algo, "group_size": self.group_size, "budget": budget}
        return {**{k: v for k, v in said.items() if v is not None}, "temperature": self.temperature, **self.config}


Rounds = Sequence[Mapping[str, float]]


def check_run(
    out: Path, arm: str, seed: int, origin: Origin, evaluations: Sequence[Evaluation]
) -> tuple[Path, Budget, list[tuple[float, Evaluation]]]:
    """(folder, budget, (fraction, evaluation) of each) of a run.  Raises ValueError where it is there, where nothing
    was evaluated, or where the last evaluation is not at the end of the budget."""
    folder, place = out / arm / f"seed{seed}", f"{arm} seed {seed}"
    if has_record(folder) or folder.exists():
        raise ValueError(f"{folder}: is there already; choose another --out, --arm or --seed")
    budget = _budget(origin, evaluations, place)
    return folder, budget, _points(evaluations, budget, place)


def write_run(
    out: Path, arm: str, seed: int, origin: Origin, evaluations: Sequence[Evaluation], rounds: Rounds
) -> Path:
    """Write the folder of a run, and return it.  Raises ValueError as `check_run` does."""
    folder, budget, points = check_run(out, arm, seed, origin, evaluations)
    last = max((e.spent for e in evaluations), key=lambda spent: spent.get(budget.unit, 0.0))
    end = _in_every_unit(last or {budget.unit: budget.limit})
    record = _record(arm, seed, origin, budget, end)
    record["environment"]["data"] = _data(evaluations)
    recorder = Recorder(folder, record)
    with (folder / "metrics.jsonl").open("a") as lines:
        for number, metrics in enumerate(rounds, 1):
            spent = metrics.get(f"spend/{budget.unit}")
            at = {} if spent is None else {"budget/fraction": min(spent / budget.limit, 1.0)}
            lines.write(json.dumps({"round": number, **at, **metrics}) + "\n")
    rows: list[EvaluationRow] = []
    for fraction, evaluation in points:
        spent_here = end if fraction == 1 else _in_every_unit(evaluation.spent)
        rows += _rows(recorder, fraction, evaluation, spent_here, origin)
    recorder.evaluation(len(rounds), rows)
    recorder.close()
    return folder


def _in_every_unit(spent: Mapping[str, float]) -> dict[str, float | None]:
    return {unit: spent.get(unit) for unit in UNITS}


def _budget(origin: Origin, evaluations: Sequence[Evaluation], place: str) -> Budget:
    if not evaluations:
        raise ValueError(f"{place}: nothing was evaluated, and there is nothing to compare")
    units = [unit for unit in UNITS if all(unit in e.spent for e in evaluations)]
    if origin.budget is not None:
        if any(e.spent for e in evaluations) and origin.budget.unit not in units:
            lacks = f"its evaluations do not know; they have {', '.join(units) or 'none in common'}"
            raise ValueError(f"{place}: --budget is in {origin.budget.unit}, which {lacks}")
        return origin.budget
    if not units:
        say = "say what it had: --budget generated_tokens=N"
        raise ValueError(f"{place}: its evaluations have no unit of spend; {say}")
    return Budget(units[0], max(e.spent[units[0]] for e in evaluations))


def _points(evaluations: Sequence[Evaluation], budget: Budget, place: str) -> list[tuple[float, Evaluation]]:
    """(fraction of the budget, evaluation), in the order of the budget; the last points are at 1."""
    if not any(e.spent for e in evaluations):
        return [(1.0, e) for e in evaluations]
    last = max(e.spent[budget.unit] for e in evaluations)
    if not (1 - NEAR) * budget.limit <= last <= (1 + NEAR) * budget.limit:
        says = f"its last evaluation is at {last:g} {budget.unit}, of a budget of {budget.limit:g}"
        raise ValueError(f"{place}: {says}; runs are compared at equal budgets: cut the log, or say another --budget")
    points = [
        (1.0 if e.spent[budget.unit] == last else round(e.spent[budget.unit] / budget.limit, 6), e) for e in evaluations
    ]
    return sorted(points, key=lambda point: point[0])


def _rows(
    recorder: Recorder, fraction: float, evaluation: Evaluation, spent: Mapping[str, float | None], origin: Origin
) -> list[EvaluationRow]:
    """The rows of one evaluation; writes its outcomes."""
    outcomes = [_outcome(answer) for answer in evaluation.answers]
    file = recorder.outcomes(f"{evaluation.task}-{fraction:g}", outcomes)
    hits = [answer.correct for answer in evaluation.answers]
    value, stderr = mean_stderr(hits)
    like: dict[str, Any] = {"task": evaluation.task, "version": origin.trainer, "filter": "strict"}
    row = {**like, "metric": "exact_match", "value": value, "stderr": None if stderr != stderr else stderr}
    rows: list[Any] = [{**row, "n": len(hits), "scorer": origin.trainer, "outcomes": file}]
    if evaluation.samples > 1:
        rows = with_average(cast("list[EvalRow]", rows), evaluation.task, cast(Any, outcomes), evaluation.samples)
    decoding = {"decoding": "sampled" if origin.temperature else "greedy", "temperature": origin.temperature}
    point = {"fraction": fraction, "spend": dict(spent), "domain": "in", **decoding}
    return [cast(EvaluationRow, {**point, **row}) for row in rows]


def _outcome(answer: Answer) -> dict[str, Any]:
    said = "correct" if answer.correct else "wrong"
    shown = {"prompt": answer.problem, "gold": "", "text": answer.text} if answer.text else {}
    key = sha256(answer.problem.encode())[:16]
    return {"id": key, **shown, "strict": said, "lenient": said, "answer": None, "ended": None}


def _data(evaluations: Sequence[Evaluation]) -> list[Any]:
    """Per set a hash of its problems in their order, so that runs on other problems are not compared."""
    data = {e.task: sha256("\n".join(dict.fromkeys(a.problem for a in e.answers)).encode()) for e in evaluations}
    return [{"name": name, "sha256": value} for name, value in data.items()]


def _record(arm: str, seed: int, origin: Origin, budget: Budget, end: Mapping[str, float | None]) -> Record:
    """What is known; the rest is null."""
    algo = origin.algo or arm
    text = f"{budget.unit}={budget.limit:.17g}"
    config = {
        "algo_name": algo, "task_name": origin.trainer, "model": origin.model, "budget": text, "seed": seed,
        "group_size": origin.group_size, "sources": {}, "algo": {}, "task": {}, **origin.config,
    }  # fmt: skip
    files = {str(file): sha256(file.read_bytes()) for file in origin.files}
    environment: dict[str, Any] = {
        "python": None, "packages": {"torch": None}, "device": None, "threads": None, "commit": None, "dirty": None,
        "model": {"name": origin.model}, "data": [],
    }  # fmt: skip
    imported = {"trainer": origin.trainer, "at": utc_now(), "files": files, "stated": origin.stated}
    return cast(
        Record,
        {
            "schema": SCHEMA, "status": "finished", "reason": None, "algo": algo, "seed": seed, "config": config,
            "config_sha256": config_sha256(config), "budget": {"unit": budget.unit, "limit": budget.limit},
            "spend": dict(end), "phases": {}, "memory": {"peak_bytes": None, "parts": {}}, "evals": [],
            "environment": environment, "imported": imported,
        },
    )  # fmt: skip
