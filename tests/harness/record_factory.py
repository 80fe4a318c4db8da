"""Made-up records: the folders of studies and runs with given numbers, for tests of code that reads records.

Importing this module does not import torch.
"""

from __future__ import annotations

import functools
import gzip
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.config.run_config import RunConfig
from harness.records.recorder import SHOWN
from harness.records.schema import SCHEMA

Curve = Sequence[float]
FRACTIONS = (0.0, 0.5, 1.0)
N = 100  # problems of a set, so that whole percents are whole problems
LIMIT = 160.0  # completions
SETS = {  # name -> domain, decoding, temperature; in an order that is not the tables'
    "sorting": ("retention", "greedy", 0.0),
    "arithmetic_longer": ("out", "greedy", 0.0),
    "arithmetic": ("in", "greedy", 0.0),
    "arithmetic_t1": ("in", "sampled", 1.0),
}
SPEND = {
    "prompts": 40, "completions": 160, "generated_tokens": 1600, "trained_tokens": 3200, "updates": 10,
    "flops": 2e12, "device_seconds": 20.0, "verifier_calls": 160,
}  # fmt: skip
ENVIRONMENT: dict[str, Any] = {
    "python": "3.12.0",
    "packages": {"torch": "2.7.0", "numpy": "2.1.0"},
    "device": "cpu",
    "threads": 1,
    "cpu": "a processor",
    "commit": "0123456789abcdef",
    "dirty": False,
    "model": {"sha256": "feed"},
    "data": [{"name": name, "sha256": "beef"} for name in SETS],
}


def spend(fraction: float) -> dict[str, float]:
    return {unit: x * fraction for unit, x in SPEND.items()}


def rows(task: str, fraction: float, value: float, kept: bool = True) -> list[dict[str, Any]]:
    """The rows of one evaluation in a record; lenient has one more correct problem than strict."""
    domain, decoding, temperature = SETS.get(task, ("in", "greedy", 0.0))
    row = {
        "fraction": fraction, "spend": spend(fraction), "task": task, "version": "1", "domain": domain,
        "decoding": decoding, "temperature": temperature, "stderr": 0.01, "n": N, "scorer": "direct",
        "outcomes": f"outcomes/{task}-{fraction:g}.jsonl.gz" if kept else "",
    }  # fmt: skip
    measured = {("strict", "exact_match"): value, ("lenient", "exact_match"): min(value + 1 / N, 1.0)}
    measured[("strict", "truncated")] = 0.0
    return [{**row, "filter": f, "metric": m, "value": x} for (f, m), x in measured.items()]


def a_record(
    arm: str,
    seed: int,
    curve: Curve,
    fractions: Curve = FRACTIONS,
    others: Mapping[str, Curve] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A finished run whose greedy in-domain accuracy is `curve`; other sets have the same, or a curve of `others`."""
    curves: dict[str, Curve] = {**dict.fromkeys(SETS, curve), **(others or {})}
    config = RunConfig(seed=seed, name=f"seed{seed}", budget=f"completions={LIMIT:g}", model="some/model")
    return {
        "schema": SCHEMA, "status": "finished", "reason": None, "algo": "grpo", "seed": seed,
        "config": config.as_dict() | {"sources": {"budget": "flag", "model": "flag"}, "schedule": {}},
        "budget": {"unit": "completions", "limit": LIMIT},
        "spend": spend(1.0),
        "phases": {
            "rollout": {"seconds": 12.0, "tokens": 1600, "peak_bytes": 2**20},
            "update": {"seconds": 8.0, "tokens": 1600, "peak_bytes": 2**21},
            "eval": {"seconds": 4.0, "tokens": 500, "peak_bytes": 2**20},
        },
        "memory": {"peak_bytes": 2**21, "parts": {"policy": {"bytes": 2**19, "how": "measured"}}},
        "checks": {},
        "evals": [row for i, f in enumerate(fractions) for task, c in curves.items() for row in rows(task, f, c[i])],
        "environment": ENVIRONMENT,
        **fields,
    }  # fmt: skip


def unfinished(arm: str, seed: int, status: str, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return a_record(arm, seed, [0.3], [0.0], status=status, reason=reason, **{"spend": spend(0.25), **fields})


def write(
    folder: Path,
    record: Mapping[str, Any],
    rounds: Sequence[Mapping[str, Any]] = ({"frac_reward_zero_std": 0.25},),
    text: Callable[[str, int], str] = lambda where, i: f"#### {i}",
) -> Path:
    """A run's folder: the first value * n problems of each set are correct, with the completions `text(place, i)`."""
    (folder / "outcomes").mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"round": i, **m}) + "\n" for i, m in enumerate(rounds)))
    for row in record["evals"]:
        if row["outcomes"] and (row["filter"], row["metric"]) == ("strict", "exact_match"):
            hits, place = round(row["value"] * row["n"]), f"{row['task']} {row['fraction']:g}"
            shown = [{"prompt": f"{i}+0=", "gold": str(i), "text": text(place, i)} for i in range(SHOWN)]
            lines = [json.dumps(_outcome(i, hits) | more) + "\n" for i, more in enumerate(shown)]
            whole = "".join(lines) + _verdicts(hits, row["n"])
            (folder / row["outcomes"]).write_bytes(gzip.compress(whole.encode(), 1, mtime=0))
    return folder


def _outcome(i: int, hits: int) -> dict[str, Any]:
    return {
        "id": f"p{i}",
        "strict": "correct" if i < hits else "wrong",
        "lenient": "correct" if i <= hits else "wrong",
        "ended": True,
    }


@functools.cache
def _verdicts(hits: int, n: int) -> str:
    """The outcomes of the problems whose text is not kept."""
    return "".join(json.dumps(_outcome(i, hits)) + "\n" for i in range(SHOWN, n))


def write_study(
    folder: Path, values: Mapping[str, Mapping[int, Curve]], fractions: Curve = FRACTIONS, **table: Any
) -> Path:
    """ARM/seed<k> for each curve, and study.json; `table` has further fields of it."""
    for arm, curves in values.items():
        for seed, curve in curves.items():
            write(folder / arm / f"seed{seed}", a_record(arm, seed, curve, fractions))
    seeds = sorted({seed for curves in values.values() for seed in curves})
    whole = {"arms": {arm: {"algo": {"name": "grpo"}} for arm in values}, "seeds": seeds, **table}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(whole))
    return folder


def write_trial(folder: Path, arm: str, trial: str, seed: int, value: float, **fields: Any) -> Path:
    record = a_record(arm, seed, [value], [1.0], **fields)
    record["evals"] = rows("arithmetic_selection", 1.0, value, kept=False)
    return write(folder / "tune" / arm / trial / f"seed{seed}", record)


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change a run's record in place."""
    file = folder / "record.json"
    record = json.loads(file.read_text())
    how(record)
    file.write_text(json.dumps(record))


# ---------------------------------------------------------------- commands

Type = Callable[[Sequence[str]], RunConfig]


class Typed(Exception):
    """Carries a configuration out of the command line, before anything is loaded."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config


def typist(monkeypatch: pytest.MonkeyPatch) -> Type:
    """The configuration of a command line, parsed by the real one, up to where a model would be loaded."""
    import typer

    import harness.training.setup
    from harness.cli.main import app

    def stop(config: RunConfig) -> None:
        raise Typed(config)

    monkeypatch.setattr(harness.training.setup, "prepare", stop)
    command = typer.main.get_command(app)

    parsing = threading.Lock()

    def typed(words: Sequence[str]) -> RunConfig:
        with parsing, pytest.raises(Typed) as found:  # typer sets and unsets a variable of the process meanwhile
            command.main(list(words[1:]), standalone_mode=False)
        return found.value.config

    return typed
