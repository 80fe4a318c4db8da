"""What a record must have: the first fault is named by its field, in one line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.accounting.budget import UNITS
from harness.records.schema import SCHEMA, check_record

SPEND = dict.fromkeys(UNITS, 1.0)
ROW = {
    "fraction": 1.0, "spend": SPEND, "task": "t", "version": 1, "domain": "in", "decoding": "greedy",
    "temperature": 0.0, "filter": "strict", "metric": "exact_match", "value": 0.5, "stderr": None, "n": 4,
    "outcomes": "",
}  # fmt: skip
RECORD: dict[str, Any] = {
    "schema": SCHEMA, "status": "finished", "algo": "grpo", "seed": 0, "budget": {"unit": "flops", "limit": 1},
    "spend": {**SPEND}, "evals": [ROW], "memory": {"peak_bytes": 1, "parts": {"policy": {"bytes": 1}}},
    "phases": {"update": {"seconds": 1.0}},
    "config": {"model": "m", "budget": "flops=1", "group_size": 2, "sources": {}, "algo": {}, "task": {}},
    "environment": {"python": "3", "packages": {"torch": "2"}, "device": "cpu", "threads": 1, "commit": None,
                    "dirty": None, "model": {}, "data": [{"name": "t", "sha256": "0"}]},
}  # fmt: skip

FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "schema 7; this version reads 1 to 2": lambda r: r.update(schema=7),
    "evals.0: must be a table, not None": lambda r: r.update(evals=[None]),
    "evals.0.value: must be a number, not 'x'": lambda r: r["evals"][0].update(value="x"),
    "evals.0.n: must be a whole number, not 1.5": lambda r: r["evals"][0].update(n=1.5),
    "evals.0.n: must be a whole number, not True": lambda r: r["evals"][0].update(n=True),
    "evals.0.spend.flops: missing": lambda r: r["evals"][0]["spend"].pop("flops"),
    "budget.unit: must be one of prompts,": lambda r: r["budget"].update(unit="tokens"),
    "config.sources: must be a table, not []": lambda r: r["config"].update(sources=[]),
    "environment.packages.torch: missing": lambda r: r["environment"].update(packages={}),
    "memory.parts: missing": lambda r: r["memory"].pop("parts"),
    "phases.update.seconds: must be a number, not None": lambda r: r["phases"]["update"].update(seconds=None),
}


def test_a_whole_record_passes() -> None:
    check_record(RECORD, Path("record.json"))


def test_a_run_that_was_cut_off_needs_no_memory() -> None:
    check_record({**RECORD, "status": "interrupted", "memory": {}, "phases": {}}, Path("record.json"))


@pytest.mark.parametrize("message", FAULTS)
def test_the_first_fault_is_named(message: str) -> None:
    record = copy.deepcopy(RECORD)
    FAULTS[message](record)
    with pytest.raises(ValueError) as error:
        check_record(record, Path("a/record.json"))
    assert str(error.value).startswith(f"a/record.json: {message}") and "\n" not in str(error.value)
