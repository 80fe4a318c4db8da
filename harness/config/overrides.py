"""Fields by dotted name, in files, studies and `--set` words: the one place that knows how they nest.

Files and studies hold the name of an algorithm or a task in its table, a RunConfig holds it beside the table:

    nested   {"algo": {"name": "grpo", "kl_coef": 0}}    or, without fields, {"algo": "grpo"}
    flat     {"algo_name": "grpo", "algo": {"kl_coef": 0}}
"""

from __future__ import annotations

import json
from typing import Any

Fields = dict[str, Any]
NAMED = ("algo", "task")  # groups that have a name of their own
TABLES = ("reward_model", "reward_weights", "eval_repeats", "lora", "chat_template_kwargs", "tool")
GROUPS = (*NAMED, *TABLES)  # tables of fields: --set GROUP.FIELD=...


def flatten_names(fields: Fields) -> Fields:
    """Nested -> flat.  Raises ValueError where a group is no table of fields."""
    flat = check_groups(fields)
    for group in NAMED:
        value = flat.get(group)
        if isinstance(value, str):
            flat[f"{group}_name"] = flat.pop(group)
        elif isinstance(value, dict) and "name" in value:
            flat[f"{group}_name"] = value["name"]
            flat[group] = {name: x for name, x in value.items() if name != "name"}
    return flat


def nest_names(fields: Fields) -> Fields:
    """Flat -> nested."""
    nested = dict(fields)
    for group in NAMED:
        if f"{group}_name" in nested:
            nested[group] = {"name": nested.pop(f"{group}_name"), **nested.get(group, {})}
    return nested


def check_groups(fields: Fields, place: str = "") -> Fields:
    """A copy.  Raises ValueError, naming the field as `place` + its name, where a group is no table of fields."""
    for group in GROUPS:
        value, named = fields.get(group, {}), group in NAMED
        if not isinstance(value, (dict, str) if named else dict):
            raise ValueError(f"{place}{group}: must be {'a name or ' * named}a table of fields, not {value!r}")
        if named and isinstance(value, dict) and not isinstance(value.get("name", ""), str):
            raise ValueError(f"{place}{group}.name: must be a name, not {value['name']!r}")
    return dict(fields)


def parse_setting(word: str) -> tuple[str, str]:
    """The field and the value of a `--set` word.

    >>> parse_setting("budget=flops=1e15")
    ('budget', 'flops=1e15')
    """
    field, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"--set: '{word}' is not field=value")
    return field, value


def set_field(fields: Fields, name: str, value: str) -> None:
    """Enter a setting into flat fields.

    >>> fields = {}
    >>> set_field(fields, "algo", "grpo"), set_field(fields, "algo.kl_coef", "0"), fields
    (None, None, {'algo_name': 'grpo', 'algo': {'kl_coef': '0'}})
    """
    group, dot, inner = name.partition(".")
    if dot and group in GROUPS:
        inner_value = _literal(value) if group == "chat_template_kwargs" else value  # no type says what it is
        fields[group] = {**check_groups(fields).get(group, {}), inner: inner_value}
    else:
        fields[f"{name}_name" if name in NAMED else name] = value


def _literal(word: str) -> Any:
    """A word as JSON reads it, else as it is: false, 3, "text".

    >>> _literal("false"), _literal("low")
    (False, 'low')
    """
    try:
        return json.loads(word)
    except ValueError:
        return word


def merge_overrides(*layers: Fields) -> Fields:
    """Nested fields: later layers over earlier ones, field by field in groups; dotted names reach into those."""
    merged: Fields = {}
    for layer in layers:
        for name, value in layer.items():
            group, dot, inner = name.partition(".")
            if dot:
                name, value = group, {inner: value}
            if name in NAMED and isinstance(value, str):
                value = {"name": value}
            if name in GROUPS and isinstance(value, dict):
                merged[name] = {**merged.get(name, {}), **value}
            else:
                merged[name] = value
    return merged
