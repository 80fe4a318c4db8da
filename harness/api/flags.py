"""Typed arguments as what a command line would give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.overrides import Fields
from harness.studies.planned_run import as_word

Settings = Mapping[str, Any]  # field -> value, dotted names for fields of a group: {"algo.kl_coef": 0, "prompts": 8}


def given(**arguments: Any) -> Fields:
    """The arguments that were given; paths as text."""
    fields = {name: str(x) if isinstance(x, Path) else x for name, x in arguments.items()}
    return {name: x for name, x in fields.items() if x is not None}


def as_settings(settings: Settings | None) -> list[str]:
    """`--set` words.

    >>> as_settings({"algo.kl_coef": 0, "eval_fractions": (0, 1), "eval_limit": None})
    ['algo.kl_coef=0', 'eval_fractions=0,1', 'eval_limit=none']
    """
    return [f"{name}={as_word(value)}" for name, value in (settings or {}).items()]
