"""The tables of presets: `algos/variants/family.toml`, `dialects.toml`; and the classes that their rows stand for."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
import typing
from pathlib import Path
from typing import Any

from algos.core.algorithm import Algorithm
from algos.core.preset import Preset

FOLDER = Path(__file__).parent.parent / "variants"
FAMILY, DIALECTS = "family", "dialects"


@functools.cache
def table(name: str) -> dict[str, Preset]:
    """The presets of one table, by name, in its order."""
    file = FOLDER / f"{name}.toml"
    rows = tomllib.loads(file.read_text(encoding="utf-8"))
    return {key: _preset(key, row, f"algos/variants/{file.name}") for key, row in rows.items()}


def _preset(name: str, row: dict[str, Any], file: str) -> Preset:
    texts = {key: value.strip("\n") for key, value in row.items() if isinstance(value, str)}
    fields = {key: (None if value == [] else value, why) for key, (value, why) in row.get("fields", {}).items()}
    values: dict[str, Any] = {"name": name, "base": "", "file": file, **texts, "fields": fields}
    return Preset(**values)


@functools.cache
def class_of(preset: Preset, base: type[Algorithm]) -> type[Algorithm]:
    """`base` with the preset's defaults: what a file with a subclass in it would define.

    Raises ValueError where the base has no such field.
    """
    hints, known = typing.get_type_hints(base), {f.name for f in dataclasses.fields(base)}
    if unknown := [name for name in preset.values if name not in known]:
        raise ValueError(f"{preset.file}: {preset.name}: {base.__name__} has no field {unknown[0]}")
    fields: list[Any] = [(name, hints[name], dataclasses.field(default=x)) for name, x in preset.values.items()]
    own = {"preset": preset, "__doc__": preset.title, "__module__": "algos.variants", "paradigm": None}
    class_name = preset.name.title().replace("_", "")
    return dataclasses.make_dataclass(class_name, fields, bases=(base,), frozen=True, kw_only=True, namespace=own)
