"""A table of right and wrong, a row per problem and evaluation, as CSV, JSON(L) or parquet.

| column       |                                                                                                    |
|--------------|----------------------------------------------------------------------------------------------------|
| `problem`    | its id or its text; the same in all runs                                                           |
| `correct`    | 0 or 1, true or false                                                                              |
| `arm`        | what the run is an arm of: grpo, ppo-lr1e-5; left out where one run is imported                     |
| `seed`       | a whole number; left out likewise                                                                  |
| `task`       | the name of the set; without it, all rows are of one set, `test`                                   |
| a unit       | what the run had spent: `updates`, `generated_tokens`, ... (`step` is `updates`); without, the end |
| `text`       | the completion                                                                                     |

Rows of one problem at one point are samples of it: as many of each problem, scored as avg@K.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.tasks.data.files import read_rows
from harness.accounting.budget import UNITS

WORDS = {"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}
KNOWN = ("problem", "correct", "arm", "seed", "task", "step", "text", *UNITS)


@dataclass(frozen=True)
class Answer:
    """One completion of one problem: is it right?"""

    problem: str
    correct: bool
    text: str = ""


@dataclass(frozen=True)
class Evaluation:
    """A set at one point of a run.  `samples`: completions of each problem, which stand one after another."""

    task: str
    spent: dict[str, float]  # in the units that are known; {} is the end
    answers: list[Answer]
    samples: int


Runs = dict[tuple[str, int], list[Evaluation]]  # (arm, seed) -> its evaluations, in the order of the file


def read_outcomes(path: Path, arm: str | None = None, seed: int | None = None) -> Runs:
    """The evaluations of each run in a table; `arm` and `seed` are those of a table without these columns.

    Raises ValueError, one line that names the file and the row.
    """
    rows = read_rows(path)
    if not rows:
        raise ValueError(f"{path}: no rows")
    for name in ("problem", "correct"):
        if name not in rows[0][1]:
            raise ValueError(f"{path}: no column '{name}'; it has {', '.join(map(str, rows[0][1]))}")
    runs: dict[tuple[str, int], dict[tuple[str, tuple[tuple[str, float], ...]], list[Answer]]] = {}
    for number, row in rows:
        place = f"{path}: row {number}"
        run = _arm(row, place, arm), _seed(row, place, seed)
        point = str(row.get("task") or "test"), tuple(_spent(row, place).items())
        answer = Answer(str(row["problem"]), _correct(row.get("correct"), place), str(row.get("text") or ""))
        runs.setdefault(run, {}).setdefault(point, []).append(answer)
    return {
        run: [evaluation(task, dict(spent), answers, str(path)) for (task, spent), answers in points.items()]
        for run, points in runs.items()
    }


def evaluation(task: str, spent: Mapping[str, float], answers: Iterable[Answer], place: str) -> Evaluation:
    """Answers by problem, in the order in which problems first appear.  Raises ValueError where one has more samples
    than another."""
    by_problem: dict[str, list[Answer]] = {}
    for answer in answers:
        by_problem.setdefault(answer.problem, []).append(answer)
    samples = len(next(iter(by_problem.values())))
    for problem, several in by_problem.items():
        if len(several) != samples:
            what = f"{len(several)} rows of problem {problem[:40]!r} at {dict(spent) or 'the end'}"
            raise ValueError(f"{place}: {what}, of others {samples}; each must have as many")
    return Evaluation(task, dict(spent), [a for several in by_problem.values() for a in several], samples)


def _arm(row: Mapping[str, Any], place: str, stated: str | None) -> str:
    arm = row.get("arm") if stated is None else stated
    if arm is None or str(arm) in ("", ".", "..") or "/" in str(arm):
        raise ValueError(f"{place}: arm: must be a name without '/', not {arm!r}; a column, or --arm")
    return str(arm)


def _seed(row: Mapping[str, Any], place: str, stated: int | None) -> int:
    seed = row.get("seed") if stated is None else stated
    try:
        return int(str(seed))
    except ValueError:
        raise ValueError(f"{place}: seed: must be a whole number, not {seed!r}; a column, or --seed") from None


def _spent(row: Mapping[str, Any], place: str) -> dict[str, float]:
    spent = {}
    for name in ("step", *UNITS):
        value = row.get(name)
        if value is None or value == "":
            continue
        try:
            spent["updates" if name == "step" else name] = number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 <= number < float("inf"):
            raise ValueError(f"{place}: {name}: must be a number from 0, not {value!r}")
    return spent


def _correct(value: Any, place: str) -> bool:
    word = str(value).lower()
    if word not in WORDS:
        raise ValueError(f"{place}: correct: must be 0 or 1, true or false, not {value!r}")
    return WORDS[word]
