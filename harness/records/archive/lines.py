"""One line of records.jsonl: a run's record, of which the rows of `evals` are a table.

    {"run": "grpo/seed0", "kept": {"rounds": 20, "outcomes": {"outcomes/arithmetic-1.jsonl.gz": 500}}, "schema": 2, ...}

`run` is the run's folder, as a path from the study's; `kept` counts its rows in the two tables; the other fields are
those of record.json, in their order.  In record.json each row of `evals` repeats what it shares with its neighbours;
here that stands once:

    "evals": {"fields": [...],                        the fields of a row, in their order
              "spends": [{"prompts": 0, ...}],        what had been spent, a table per point
              "sets": [{"fraction": 0.0, "spend": 0, "task": "arithmetic", ...}],   `spend` numbers the point
              "rows": {"set": [0, 0], "filter": ["strict", "lenient"], "metric": [...], "value": [...], ...}}

Where that would not give the rows back as they are, they stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Rows = list[dict[str, Any]]
RUN, KEPT = "run", "kept"
OWN = ("filter", "metric", "value", "stderr")  # of a row of `evals`; what else it has, it shares with others


def to_line(run: str, rounds: int, outcomes: Mapping[str, int], record: Mapping[str, Any]) -> str:
    """Raises ValueError where the record has a field of the name of ours."""
    if taken := {RUN, KEPT} & record.keys():
        raise ValueError(f"{run}/record.json: has a field '{min(taken)}', and records.jsonl has its own of that name")
    head = {RUN: run, KEPT: {"rounds": rounds, "outcomes": dict(outcomes)}}
    return json.dumps({**head, **{name: pack(x) if name == "evals" else x for name, x in record.items()}})


def to_record(line: str) -> dict[str, Any]:
    """The record as record.json had it.  Raises ValueError, LookupError or TypeError where it is no such line."""
    table = json.loads(line)
    return {name: unpack(x) if name == "evals" else x for name, x in table.items() if name not in (RUN, KEPT)}


def pack(rows: Any) -> Any:
    """The rows of `evals` with what they share once; as they are, where that does not give them back."""
    try:
        packed = _pack(rows)
        return packed if json.dumps(unpack(packed)) == json.dumps(rows) else rows
    except (AttributeError, LookupError, TypeError):
        return rows


def _pack(rows: Rows) -> dict[str, Any]:
    fields = list(rows[0])
    spends: dict[str, int] = {}
    sets: dict[str, int] = {}
    own = [name for name in fields if name in OWN]
    table: dict[str, list[Any]] = {name: [] for name in ("set", *own)}
    for row in rows:
        spend = spends.setdefault(json.dumps(row["spend"]), len(spends))
        shared = {name: spend if name == "spend" else row[name] for name in fields if name not in OWN}
        table["set"].append(sets.setdefault(json.dumps(shared), len(sets)))
        for name in own:
            table[name].append(row[name])
    return {"fields": fields, "spends": [*map(json.loads, spends)], "sets": [*map(json.loads, sets)], "rows": table}


def unpack(packed: Any) -> Any:
    """The rows of `evals` as record.json has them, each with a spend of its own."""
    if not isinstance(packed, dict):
        return packed
    fields, rows = packed["fields"], []
    names = [name for name in packed["rows"] if name != "set"]
    for i, *values in zip(packed["rows"]["set"], *(packed["rows"][name] for name in names), strict=True):
        shared = packed["sets"][i]
        row = {**shared, "spend": dict(packed["spends"][shared["spend"]]), **dict(zip(names, values, strict=True))}
        rows.append({name: row[name] for name in fields})
    return rows
