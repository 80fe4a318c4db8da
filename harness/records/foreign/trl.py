"""The log of a TRL trainer: trainer_state.json, which transformers writes into OUTPUT_DIR/checkpoint-N.

Its steps are optimiser updates.  Its metrics keep their names, which ours are named after; `num_tokens`, of prompts and
completions together, is no unit of ours.  Its training_args.bin is a pickle, and is not read.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

STATE = "trainer_state.json"
Round = dict[str, float]


def read_log(path: Path) -> list[Round]:
    """A row per logged step, with `spend/updates`; `path` is the file, a checkpoint's folder or the output folder, of
    which the last checkpoint is read.  Raises ValueError naming the file."""
    file = _file(path)
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        history = [dict(row) for row in state["log_history"]]
        steps = [int(row["step"]) for row in history]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{file}: not the state of a trainer: {error}") from None
    rounds: dict[int, Round] = {}
    for step, row in zip(steps, history, strict=True):
        metrics = {k: float(x) for k, x in row.items() if k not in ("step", "epoch") and _number(x)}
        rounds.setdefault(step, {"spend/updates": float(step)}).update(metrics)
    if not rounds:
        raise ValueError(f"{file}: no step was logged; logging_steps sets how often")
    return [rounds[step] for step in sorted(rounds)]


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    found = [file for file in path.glob(f"checkpoint-*/{STATE}") if file.parent.name.rpartition("-")[2].isdecimal()]
    if (path / STATE).exists():
        return path / STATE
    if not found:
        raise ValueError(f"{path}: no {STATE} in it, nor in a checkpoint-N below it")
    return max(found, key=lambda file: int(file.parent.name.rpartition("-")[2]))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
