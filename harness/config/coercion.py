"""Values as their declared types: words of a command line, and tables of a TOML or JSON file."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal

Built = typing.TypeVar("Built")


def build(cls: type[Built], values: dict[str, Any], prefix: str) -> Built:
    """An instance of dataclass `cls`, its fields converted to their declared types.

    Raises ValueError naming the field (as `prefix` + name) and what is valid.
    """
    hints = typing.get_type_hints(cls)
    valid = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for name in values:
        if name not in valid:
            raise ValueError(f"{prefix}{name}: unknown field; valid: {', '.join(prefix + v for v in valid)}")
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        if f.name not in values and f.default is f.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{f.name}: missing")
    return cls(**{name: coerce(value, hints[name], prefix + name) for name, value in values.items()})


def coerce(value: Any, hint: Any, name: str) -> Any:
    """`value` (often a word of the command line) as the declared type.

    >>> coerce("0.1", float, "algo.kl_coef"), coerce("none", float | None, "x"), coerce("0,1", tuple[float, ...], "f")
    (0.1, None, (0.0, 1.0))
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value in arguments:
            return value
        raise ValueError(f"{name}: '{value}' is not one of {', '.join(map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        empty = value is None or (isinstance(value, str) and value.lower() in ("none", ""))
        if empty and type(None) in arguments:
            return None
        return coerce(value, next(a for a in arguments if a is not type(None)), name)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{name}: must be a table, not {value!r}")
        return build(hint, value, f"{name}.")  # type: ignore[arg-type]
    if origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{name}: must be a list, not {value!r}")
        return [coerce(x, arguments[0], f"{name}.{i}" if isinstance(x, dict) else name) for i, x in enumerate(value)]
    if origin is tuple:
        items = [x for x in value.split(",") if x.strip()] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"{name}: '{value}' is not a list")
        return tuple(coerce(x.strip() if isinstance(x, str) else x, arguments[0], name) for x in items)
    if origin is dict or hint is dict:
        if isinstance(value, dict):
            return {k: coerce(v, arguments[1], f"{name}.{k}") for k, v in value.items()} if arguments else value
        raise ValueError(f"{name}: '{value}' is not a table of fields")
    return _scalar(value, hint, name)


def _scalar(value: Any, hint: type, name: str) -> Any:
    wrong = ValueError(f"{name}: '{value}' is not {'an' if hint is int else 'a'} {hint.__name__}")
    if hint is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        raise wrong
    if isinstance(value, bool) or value is None:
        raise wrong
    if hint is str:
        if isinstance(value, (str, int, float)):
            return str(value)
        raise wrong
    try:
        number = hint(value.replace("_", "") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if number != number or (hint is int and isinstance(value, float) and value != number):
        raise wrong
    clip = "clip" in name.rpartition(".")[2]  # at infinity it clips nothing
    if hint is float and math.isinf(number) and not clip:
        raise ValueError(f"{name}: must be finite, not {value}")
    return number
