"""A named setting of an algorithm's fields: a row of a table (`algos/variants/*.toml`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Preset:
    """One entry.  `fields` holds what differs from the base: name -> (value, why)."""

    name: str
    base: str  # the algorithm whose fields these are
    title: str
    source: str  # the paper, or for a framework's dialect its version, file and line
    equation: str = ""
    transform: str = ""  # F with grad E F(p) of a binary reward whose success rate is p, exact groups
    text: str = ""  # what else there is to say
    proof: str = ""  # of a dialect: how it was held against the framework's own function
    file: str  # the table, from the repository's root
    fields: Mapping[str, tuple[Any, str]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        return {name: value for name, (value, _) in self.fields.items()}
