"""`harness rescore`: the verdicts of old runs, judged anew by the verifier of today.  It changes no file.

A run keeps texts in two places: its outcomes (of the first problems of each evaluation) and `samples.jsonl` (a few
completions per round).  Each is verified again against its gold answer, and a verdict that is another one now
is counted, by set and direction.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals import tasks
from evals.tasks import Problem, Task
from harness.config.coercion import build
from harness.records.run_folder import SAMPLES
from harness.records.runs import outcome_names, outcomes_place, read_outcomes, read_record, run_folders

Move = tuple[str, str, str, str]  # set, filter, the verdict then, the verdict now


@dataclass(frozen=True)
class Moved:
    """One verdict that is another one now."""

    file: str
    move: Move
    gold: str
    text: str


@dataclass
class Rescored:
    """What was judged anew."""

    runs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)  # by set
    moved: list[Moved] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # runs whose task is not there

    @property
    def moves(self) -> Counter[Move]:
        return Counter(moved.move for moved in self.moved)


def rescore(paths: list[Path]) -> Rescored:
    """All runs in and below the paths.  ValueError, naming it, where a path has none or a file is broken."""
    result = Rescored()
    for path in paths:
        folders = run_folders(path)
        if not folders:
            raise ValueError(f"{path}: no run in it (a folder with record.json, or a study's records.jsonl)")
        for folder in folders:
            _rescore_run(folder, result)
    return result


def _rescore_run(folder: Path, result: Rescored) -> None:
    record = read_record(folder)
    assert record is not None
    config = record["config"]
    try:
        task = build(tasks.load(config["task_name"]), config["task"], "task.")
    except ValueError as error:
        result.left_out.append(f"{folder}: {error}")
        return
    result.runs += 1
    for file in outcome_names(folder):
        name = Path(file).name.removesuffix(".jsonl.gz").rpartition("-")[0]
        if name not in config["eval_tasks"] or name in tasks.benchmark_names():  # others are lm-eval's own verdicts
            rows = read_outcomes(folder, file, name)
            _rescore_rows(task, rows, outcomes_place(folder, file), name, result)
    if (samples := folder / SAMPLES).is_file():
        _rescore_rows(task, _rows(samples), str(samples), "training", result)


def _rescore_rows(task: Task, rows: list[dict[str, Any]], file: str, name: str, result: Rescored) -> None:
    """The rows that have a text: of outcomes the first, of samples all."""
    for row in rows:
        try:
            if "completion" in row or file.endswith(SAMPLES):  # its verdict is the strict one
                row = {"id": "", "strict": row["verdict"], "text": row["completion"], **row}
            if "text" in row:
                ended = row.get("ended", row["strict"] != "truncated")
                _compare(
                    task, Problem(row["id"], row["prompt"], row["gold"]), row, ended is not False, file, name, result
                )
        except KeyError as error:
            raise ValueError(f"{file}: a row has no {error}") from error


def _compare(
    task: Task, problem: Problem, row: dict[str, Any], ended: bool, file: str, name: str, result: Rescored
) -> None:
    verdict = task.verify(problem, row["text"], ended)
    for filter, now in (("strict", verdict.strict), ("lenient", verdict.lenient)):
        if filter in row:
            result.verdicts[name] += 1
            if row[filter] != now:
                result.moved.append(Moved(file, (name, filter, row[filter], now), problem.gold, row["text"]))


def _rows(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of samples.  ValueError, naming the file, where it cannot be read."""
    try:
        return [json.loads(line) for line in file.read_text().split("\n") if line]
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from error


def table(result: Rescored, show: int) -> str:
    """A line per set, one per kind of move, and the first `show` verdicts that moved."""
    total = sum(result.verdicts.values())
    lines = [f"{result.runs} runs, {total} verdicts judged anew, {len(result.moved)} moved"]
    lines += [f"left out: {line}" for line in result.left_out]
    by_set = Counter(moved.move[0] for moved in result.moved)
    lines += [
        f"{name:<28}{count:>10} verdicts{by_set[name]:>8} moved" for name, count in sorted(result.verdicts.items())
    ]
    if result.moved:
        lines += ["", f"{'set':<28}{'filter':<10}{'then':<16}{'now':<16}{'count':>6}"]
        lines += [f"{s:<28}{f:<10}{a:<16}{b:<16}{n:>6}" for (s, f, a, b), n in sorted(result.moves.items())]
    for moved in result.moved[:show]:
        name, filter, then, now = moved.move
        lines += ["", f"{moved.file}: {name}, {filter}: {then} -> {now}, gold {moved.gold}", repr(moved.text[-200:])]
    return "\n".join(lines)
