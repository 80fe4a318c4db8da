"""The log of a verl run: its file logger, and what its validation dumps.

    trainer.logger=["console","file"]   per step a line {"step": 3, "data": {"actor/entropy": 0.4, ...}}
    trainer.validation_data_dir=DIR     DIR/STEP.jsonl: per completion a line {"input": ..., "score": ...}

A step of verl is a round: a batch of prompts, of which it may make several optimiser updates.  Spend is known in
prompts where the batch is stated, and in completions where their number per prompt is stated too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from evals.tasks.data.files import read_rows
from harness.records.foreign.outcomes import Answer, Evaluation, evaluation

Round = dict[str, float]
NAMES = {  # verl's -> ours, where they mean the same
    "critic/score/mean": "reward",
    "response_length/mean": "completions/mean_length",
    "response_length/max": "completions/max_length",
    "response_length/min": "completions/min_length",
    "response_length/clip_ratio": "completions/clipped_ratio",
    "actor/entropy": "entropy",
    "actor/grad_norm": "grad_norm",
    "actor/lr": "learning_rate",
    "timing_s/step": "step_time",
}


def read_log(file: Path, batch: int, group: int | None = None) -> list[Round]:
    """A row per step, under verl's names and, where they mean the same, ours.  Raises ValueError with file and line."""
    rounds: dict[int, Round] = {}
    for number, line in enumerate(_lines(file), 1):
        try:
            row = json.loads(line)
            step, data = int(row["step"]), dict(row["data"])
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(f"{file}: line {number}: not a step of verl's file logger: {error}") from None
        metrics = {k: float(x) for k, x in data.items() if _number(x)}
        metrics |= {ours: metrics[theirs] for theirs, ours in NAMES.items() if theirs in metrics}
        rounds.setdefault(step, {}).update(metrics | spent(step, batch, group, "spend/"))
    if not rounds:
        raise ValueError(f"{file}: no step was logged")
    return [rounds[step] for step in sorted(rounds)]


def spent(step: int, batch: int, group: int | None, prefix: str = "") -> Round:
    """What is known to be spent after a step."""
    known = {f"{prefix}prompts": float(step * batch)}
    return known | ({f"{prefix}completions": float(step * batch * group)} if group else {})


def read_validation(folder: Path, batch: int, group: int | None, correct_at: float) -> list[Evaluation]:
    """The validations, by step.  A completion is right if its `acc` is 1, or, where there is none, its `score` is at
    least `correct_at`.  Raises ValueError with file and row."""
    files = {int(file.stem): file for file in folder.glob("*.jsonl") if file.stem.isdecimal()}
    if not files:
        raise ValueError(f"{folder}: no STEP.jsonl in it; trainer.validation_data_dir names the folder")
    found = []
    for step, file in sorted(files.items()):
        sets: dict[str, list[Answer]] = {}
        for number, row in read_rows(file):
            answer = Answer(
                _text(row, "input"), _correct(row, f"{file}: row {number}", correct_at), _text(row, "output")
            )
            sets.setdefault(str(row.get("data_source") or "test"), []).append(answer)
        found += [evaluation(task, spent(step, batch, group), rows, str(file)) for task, rows in sets.items()]
    return found


def _text(row: dict[str, Any], name: str) -> str:
    return str(row.get(name) or "")


def _correct(row: dict[str, Any], place: str, correct_at: float) -> bool:
    name = "acc" if row.get("acc") is not None else "score"
    try:
        return float(row[name]) >= (1.0 if name == "acc" else correct_at)
    except (LookupError, TypeError, ValueError):
        raise ValueError(f"{place}: {name}: must be a number, not {row.get(name)!r}") from None


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
