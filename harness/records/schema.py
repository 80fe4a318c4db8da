"""What a record looks like, and what is read of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.accounting.budget import UNITS

SCHEMA = 1
_SPEND = dict.fromkeys(UNITS, float)
_ROW = {"fraction": float, "task": str, "filter": str, "metric": str, "value": float, "n": int, "domain": str,
        "decoding": str, "temperature": float, "version": object, "outcomes": str, "spend": _SPEND}  # fmt: skip
BEGUN = {  # of a run that has begun: what going on with it looks at
    "status": str,
    "config": {"algo?": dict, "schedule?": dict},
    "environment": {"model": dict},
}
WHOLE = {  # of any run: what a report reads of it
    "status": str, "algo": str, "seed": int, "budget": {"unit": UNITS, "limit": float}, "spend": _SPEND,
    "config": {"model": str, "budget": str, "group_size": int, "sources": dict, "algo": dict, "task": dict,
               "schedule?": {"group_size?": int}},
    "evals": [_ROW],
    "reward_model?": [dict],
    "environment": {"model": dict, "data": [{"name": str, "sha256": str}], "packages": {"torch": str}, "commit": object,
                    "dirty": object, "device": str, "threads": int, "python": str},
}  # fmt: skip
FINISHED = {  # and of one that has come to its end
    "memory": {"peak_bytes": float, "parts": {"*": {"bytes": float}}},
    "phases": {"*": {"seconds": float}},
}
_KINDS = {str: "text", int: "a whole number", float: "a number", dict: "a table", list: "a list"}


def check_shape(value: Any, shape: Any, place: str = "") -> None:
    """Raises ValueError naming the first field, under `place`, that has not its shape: a type, a tuple of valid values,
    a list of a shape, or a table of shapes, in which "name?" may be missing and "*" is every field.

    >>> check_shape({"a": [{"b": 1}, {}]}, {"a": [{"b": float}]})
    Traceback (most recent call last):
    ValueError: a.1.b: missing
    """
    kind = type(shape) if isinstance(shape, dict | list | tuple) else shape
    types: Any = {float: (int, float), tuple: str}.get(kind, kind)
    if not isinstance(value, types) or (isinstance(value, bool) and kind is not object):
        said = f"must be {_KINDS.get(kind, 'text')}, not {_cut(value)}"
        raise ValueError(f"{place}: {said}" if place else said)
    if isinstance(shape, tuple) and value not in shape:
        raise ValueError(f"{place}: must be one of {', '.join(shape)}, not {_cut(value)}")
    if isinstance(shape, list):
        for i, inner in enumerate(value):
            check_shape(inner, shape[0], f"{place}.{i}")
    for name, inner in shape.items() if isinstance(shape, dict) else ():
        wanted = name.removesuffix("?")
        if name == wanted != "*" and wanted not in value:
            raise ValueError(f"{place}.{wanted}: missing".removeprefix("."))
        for field in value if name == "*" else [wanted] * (wanted in value):
            check_shape(value[field], inner, f"{place}.{field}".removeprefix("."))


def check_record(record: Mapping[str, Any], file: Path) -> None:
    """Raises ValueError naming the file, where the record is of another schema or has not what a report reads."""
    if record.get("schema") != SCHEMA:
        raise ValueError(f"{file}: schema {record.get('schema')}; this version reads {SCHEMA}")
    try:
        check_shape(record, {**WHOLE, **(FINISHED if record["status"] == "finished" else {})})
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _cut(value: Any) -> str:
    return said if len(said := repr(value)) <= 40 else f"{said[:40]}..."
