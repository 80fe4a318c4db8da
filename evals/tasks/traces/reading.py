"""Rows of prompts and completions -> problems with a completion each.

    {"prompt": "12-(5-3)+4=", "completion": "<think>5-3=2,12-2=10,10+4=14</think>#### 14"}
    {"prompt": "12-(5-3)+4=", "steps": ["<think>5-3=2", {"text": ",12-2=11", "right": false}, ...], "gold": "14"}

| column       | what it is                                                                                          |
|--------------|-----------------------------------------------------------------------------------------------------|
| `prompt`     | as the model reads it, before a chat template                                                       |
| `completion` | the whole completion                                                                                |
| `steps`      | in its place its steps, written one after another as they are; `right` is somebody's annotation     |
| `id`, `gold` | of the problem; needed only where the prompt is none of the task's training problems                |

A template takes other columns: "<think>{reasoning}</think>#### {answer}".  It may hold `{steps}`.

A prompt may come several times, with a completion each.  Rows whose problem is one of an evaluation set are left out
and counted.  What is wrong with a row is a `DataError` of one line that names the file and the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.tasks.base import Problem, Step
from evals.tasks.data.files import DataError, read_rows, short
from evals.tasks.data.loading import template_of

ACCEPTED = "accepted.jsonl"  # what a run that samples alone has kept, in its folder; rows as above
STEPS = "steps"


@dataclass(frozen=True)
class Trace(Problem):
    """A problem with the completion that is to be learned.

    Trace(id="3f2a", prompt="12-(5-3)+4=", gold="14", completion="<think>5-3=2,...</think>#### 14")
    """

    completion: str = ""
    steps: tuple[Step, ...] | None = field(default=None, compare=False)  # as the file annotates them; None: it does not


def read_traces(
    file: str, template: str, task: str, known: Sequence[Problem], tested: Iterable[Problem]
) -> tuple[list[Problem], list[str]]:
    """The traces of a file, in its order, and notices of what was left out.

    `known` are the training problems of the task, `tested` those of its evaluation sets: a row that has the id or the
    prompt of a known one is that problem, with all that its verifier reads.  DataError where nothing is left.
    """
    by_id, by_prompt = {p.id: p for p in known}, {p.prompt: p for p in known}
    held = list(tested)
    held_ids, held_prompts = {p.id for p in held}, {p.prompt for p in held}
    parts = template_of(template) if template else None
    rows, traces = read_rows(Path(file)), list[Problem]()
    for line, row in rows:
        where = f"{file}:{line}"
        prompt = _text(row, "prompt", where)
        problem = by_id.get(str(row.get("id"))) or by_prompt.get(prompt) or _unknown(row, prompt, task, where)
        if problem.id in held_ids or problem.prompt in held_prompts:
            continue
        completion, steps = _completion(row, parts, where)
        shared = {name: getattr(problem, name) for name in ("id", "prompt", "gold", "source", "row", "turns")}
        traces.append(Trace(**shared, completion=completion, steps=steps))
    left_out = len(rows) - len(traces)
    if not traces:
        raise DataError(f"{file}: every one of its {left_out} rows is a problem of an evaluation set")
    return traces, [f"{file}: {left_out} of {len(rows)} rows left out: evaluation problems"] if left_out else []


def _unknown(row: dict[str, Any], prompt: str, task: str, where: str) -> Problem:
    """A problem that the task's training split does not have."""
    gold = row.get("gold", row.get("answer"))
    if not isinstance(gold, str | int | float):
        raise DataError(f"{where}: its prompt is no training problem of task '{task}', and it has no 'gold' answer")
    identity = str(row.get("id") or hashlib.sha256(prompt.encode()).hexdigest()[:16])
    return Problem(identity, prompt, str(gold))


def _completion(
    row: dict[str, Any], parts: list[tuple[str, str | None]] | None, where: str
) -> tuple[str, tuple[Step, ...] | None]:
    """The text, and where its steps end if the row lists them."""
    if parts is None:
        columns = [name for name in ("completion", STEPS) if row.get(name) is not None]
        if not columns:
            listed = ", ".join(map(str, row)) or "none"
            raise DataError(
                f"{where}: no 'completion' and no '{STEPS}'; name what it is written from with data_completion, e.g. "
                f"'{{reasoning}} #### {{answer}}'; its columns are {listed}"
            )
        parts = [("", columns[0])]
    text, steps = "", None
    for literal, name in parts:
        text += literal
        if name == STEPS:
            steps = []
            for piece, right in _steps(row, where):
                text += piece
                steps.append(Step(len(text), right))
        elif name is not None:
            text += _text(row, name, where)
    return text, None if steps is None else tuple(steps)


def _steps(row: dict[str, Any], where: str) -> list[tuple[str, bool]]:
    """Text and annotation of each step; one without an annotation is right."""
    cells = row.get(STEPS)
    if not isinstance(cells, list) or not cells:
        raise DataError(f"{where}: {STEPS}: must be a list of texts, or of {{'text', 'right'}}, not {short(cells)}")
    steps = []
    for i, cell in enumerate(cells, 1):
        text, right = (cell.get("text"), cell.get("right", True)) if isinstance(cell, dict) else (cell, True)
        if not isinstance(text, str) or not text or not isinstance(right, bool):
            raise DataError(
                f"{where}: {STEPS}: number {i} must be a text, or have a 'text' and a 'right' that is true or false; "
                f"not {short(cell)}"
            )
        steps.append((text, right))
    return steps


def _text(row: dict[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        listed = ", ".join(map(str, row)) or "none"
        what = f"must be text, not {short(value)}" if name in row else f"no such column; its columns are {listed}"
        raise DataError(f"{where}: {name}: {what}")
    return value
