"""Fields by dotted name, in files, studies and `--set` words: the one place that knows how they nest."""

from __future__ import annotations

from typing import Any

GROUPS = ("algo", "task", "reward_model", "reward_weights")  # tables of fields: --set GROUP.FIELD=...


def _nested(table: dict[str, Any]) -> dict[str, Any]:
    """In a file, `algo = "grpo"` names the algorithm and `[algo]` holds its fields, `name` among them."""
    out = check_groups(table)
    for key in ("algo", "task"):
        value = out.get(key)
        if isinstance(value, str):
            out[f"{key}_name"] = out.pop(key)
        elif isinstance(value, dict) and "name" in value:
            out[f"{key}_name"] = value["name"]
            out[key] = {k: v for k, v in value.items() if k != "name"}
    return out


def check_groups(table: dict[str, Any], place: str = "") -> dict[str, Any]:
    """A copy.  Raises ValueError, naming the field as `place` + its name, where a group is no table of fields."""
    for group in GROUPS:
        value, named = table.get(group, {}), group in ("algo", "task")
        if not isinstance(value, (dict, str) if named else dict):
            raise ValueError(f"{place}{group}: must be {'a name or ' * named}a table of fields, not {value!r}")
        if named and isinstance(value, dict) and not isinstance(value.get("name", ""), str):
            raise ValueError(f"{place}{group}.name: must be a name, not {value['name']!r}")
    return dict(table)


def put(asked: dict[str, Any], name: str, value: str) -> None:
    """A `--set` word into a table of flags."""
    group, dot, rest = name.partition(".")
    if dot and group in GROUPS:
        asked[group] = {**check_groups(asked).get(group, {}), rest: value}
    else:
        asked[{"algo": "algo_name", "task": "task_name"}.get(name, name)] = value


Fields = dict[str, Any]  # as in a --config file: `algo` and `task` hold tables


def over(*layers: Fields) -> Fields:
    """Later layers over earlier ones, field by field in tables of fields; dotted names reach into those."""
    merged: Fields = {}
    for layer in layers:
        for name, value in layer.items():
            group, dot, inner = name.partition(".")
            if dot:
                name, value = group, {inner: value}
            if name in ("algo", "task") and isinstance(value, str):
                value = {"name": value}
            if name in GROUPS and isinstance(value, dict):
                merged[name] = {**merged.get(name, {}), **value}
            else:
                merged[name] = value
    return merged


def _named(asked: Fields) -> Fields:
    """Flags call an algorithm `algo_name`; in a study it is `algo.name`."""
    out = dict(asked)
    for group in ("algo", "task"):
        if f"{group}_name" in out:
            out[group] = {"name": out.pop(f"{group}_name"), **out.get(group, {})}
    return out


def _setting(word: str) -> tuple[str, str]:
    field, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"--set: '{word}' is not field=value")
    return field, value
