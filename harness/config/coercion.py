"""Values as their declared types: words of a command line, and tables of a TOML or JSON file.

pydantic checks and converts.  The dataclasses themselves stay plain, so that an algorithm's file needs torch alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BeforeValidator, ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticKnownError
from typing_extensions import TypedDict

from harness.config.nearest import nearest

Instance = typing.TypeVar("Instance")
NOUNS = {"int": "an int", "float": "a float", "bool": "a bool", "string": "a str"}  # by the start of pydantic's types


def build(cls: type[Instance], values: dict[str, Any], prefix: str) -> Instance:
    """An instance of dataclass `cls`, its fields converted to their declared types.  Defaults are not looked at.

    Raises ValueError, one line, that names the field (as `prefix` + its dotted name) and what is valid.

    >>> from harness.config.run_config import RunConfig
    >>> config = build(RunConfig, {"lr": "1e-5", "eval_fractions": "0,1", "eval_limit": "none"}, "")
    >>> config.lr, config.eval_fractions, config.eval_limit
    (1e-05, (0.0, 1.0), None)
    """
    try:
        instance: Instance = _adapter(cls).validate_python(values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ValueError(_message(error.errors()[0], values, prefix)) from None
    return instance


@functools.lru_cache(maxsize=64)
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(_table(cls))


def _table(cls: Any) -> Any:
    """The type of a table of `cls`'s fields, which becomes an instance of it."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [f for f in dataclasses.fields(cls) if f.init] if dataclasses.is_dataclass(cls) else []  # none to set
    names = [f.name for f in fields]
    items: dict[str, Any] = {}
    for f in fields:
        hint = _readable(hints[f.name], finite="clip" not in f.name)  # at infinity a clip clips nothing
        required = f.default is f.default_factory is dataclasses.MISSING
        items[f.name] = hint if required else NotRequired[hint]

    def check_names(table: Any) -> Any:
        if unknown := [name for name in table if name not in names] if isinstance(table, dict) else []:
            raise PydanticCustomError("unknown_field", "unknown field", {"name": unknown[0], "valid": names})
        return table

    table = with_config(ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True))(
        TypedDict(cls.__name__, items)  # type: ignore[operator]
    )
    return Annotated[table, BeforeValidator(check_names), AfterValidator(lambda values: cls(**values))]


def _readable(hint: Any, finite: bool) -> Any:
    """The hint, with words of a command line for None and lists, and without what pydantic would convert too easily."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _table(hint)
    if hint is bool:
        return Annotated[bool, BeforeValidator(_no_number)]
    if hint is int:
        return Annotated[int, BeforeValidator(_whole)]
    if hint is float:
        return Annotated[float, BeforeValidator(_no_bool), AfterValidator(_finite if finite else _not_nan)]
    if origin in (None, Annotated, Literal):
        return hint
    inner = tuple(_readable(argument, finite) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        union: Any = typing.Union.__getitem__(inner)
        return Annotated[union, BeforeValidator(_none)] if types.NoneType in inner else union
    generic: Any = origin[inner]
    return Annotated[generic, BeforeValidator(_split)] if origin is tuple else generic


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticKnownError("bool_type")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise PydanticKnownError("int_type")
    return value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


def _not_nan(number: float) -> float:
    if math.isnan(number):
        raise PydanticKnownError("float_type")
    return number


def _finite(number: float) -> float:
    if math.isinf(_not_nan(number)):
        raise PydanticKnownError("finite_number")
    return number


def _none(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() in ("none", "") else value


def _split(value: Any) -> Any:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _message(error: ErrorDetails, values: Any, prefix: str) -> str:
    """One line for what pydantic found first."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if "error" in context:  # a dataclass's own check: it names the field itself
        return str(context["error"])
    path = _path(error["loc"], values)
    table = prefix + "".join(f"{part}." for part in path)
    if kind == "unknown_field":
        meant = nearest(context["name"], context["valid"], table)
        asked = f" (did you mean {meant}?)" if meant else ""
        valid = ", ".join(table + name for name in context["valid"])
        return f"{table}{context['name']}: unknown field{asked}; valid: {valid}"
    if kind == "missing" and isinstance(error["loc"][-1], str):
        return f"{table}{error['loc'][-1]}: missing"
    while path and isinstance(path[-1], int):  # an item of a list has the list's name
        path.pop()
    name = prefix + ".".join(map(str, path))
    if kind in ("dict_type", "list_type", "tuple_type"):
        return f"{name}: must be {'a table of fields' if kind == 'dict_type' else 'a list'}, not {value!r}"
    if kind == "literal_error":
        return f"{name}: '{value}' is not one of {context['expected'].replace(' or ', ', ').replace(chr(39), '')}"
    if kind == "finite_number":
        return f"{name}: must be finite, not {value}"
    noun = NOUNS.get(kind.partition("_")[0])
    return f"{name}: '{value}' is not {noun}" if noun else f"{name}: {value!r}: {error['msg']}"


def _path(place: tuple[int | str, ...], values: Any) -> list[int | str]:
    """The part of pydantic's place that stands in the values; the rest names a missing field or a branch of a union."""
    path: list[int | str] = []
    for part in place:
        keys = values if isinstance(values, dict) else range(len(values)) if isinstance(values, list | tuple) else ()
        if part not in keys:
            break
        values = values[part]
        path.append(part)
    return path
