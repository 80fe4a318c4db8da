"""Made-up control runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENDS = [0.90, 0.92, 0.91, 0.93, 0.89]  # of five seeds, greedy


def evaluation(decoding: str, fraction: float, value: float) -> list[dict[str, Any]]:
    """In domain, strict and lenient, and another set."""
    row = {
        "fraction": fraction, "spend": {"updates": 10 * fraction, "device_seconds": 7.5}, "task": "arithmetic",
        "domain": "in", "decoding": decoding, "filter": "strict", "metric": "exact_match", "value": value,
    }  # fmt: skip
    return [row, {**row, "filter": "lenient", "value": 1.0}, {**row, "domain": "out", "value": 0.5}]


def leave(arm: Path, seed: int, end: float, start: float = 0.4, **algo: Any) -> Path:
    """What a finished run leaves, as far as it is read; sampled is 10 points below greedy at the end."""
    folder = arm / f"seed{seed}"
    folder.mkdir(parents=True)
    evals = [evaluation("greedy", 0.0, start), evaluation("greedy", 1.0, end)]
    evals += [evaluation("sampled", 0.0, start), evaluation("sampled", 1.0, end - 0.1)]
    record = {
        "status": "finished", "algo": "grpo", "seed": seed, "budget": {"unit": "updates", "limit": 10},
        "evals": [row for rows in evals for row in rows],
        "config": {"seed": seed, "task_name": "arithmetic", "algo": {"clip_low": 0.2, **algo}},
        "spend": {"updates": 10, "device_seconds": 12.5}, "environment": {"commit": "0123456789", "dirty": False},
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record))
    rounds = [{"round": i, "loss": 0.5 / i, "step_time": 1.25, "mem/peak": 1e6, "entropy": 0.4 - 0.1 * i,
               "completions/mean_length": 10.0 + i} for i in (1, 2)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rounds))
    return folder


def arm(folder: Path, ends: Sequence[float], **algo: Any) -> Path:
    for seed, end in enumerate(ends):
        leave(folder, seed, end, **algo)
    return folder


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
