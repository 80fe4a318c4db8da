"""`harness list`: what there is, with its fields and their defaults, read from the code."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import algos
from evals import tasks
from harness import study
from harness.config import RunConfig, embedded_models


def _fields(cls: Any) -> list[str]:
    hints = typing.get_type_hints(cls)
    lines = []
    for f in dataclasses.fields(cls):
        kind = hints[f.name]
        options = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        shown = " | ".join(map(str, options)) or getattr(kind, "__name__", str(kind)).replace("typing.", "")
        default = f.default if f.default is not dataclasses.MISSING else "{}"
        lines.append(f"    {f.name} = {default!r}  ({shown})")
    return lines


def _described(name: str, cls: Any, module: str) -> list[str]:
    import sys

    about = (sys.modules[cls.__module__].__doc__ or "").strip().splitlines()[0]
    return [f"  {name}  ({module}.py): {about}", *_fields(cls)]


def listing(what: str) -> str:
    """Raises ValueError on an unknown heading."""
    headings = ("algos", "tasks", "models", "studies", "fields")
    if what not in (*headings, "all"):
        raise ValueError(f"list: unknown '{what}'; valid: all, {', '.join(headings)}")
    lines: list[str] = []
    for heading in headings if what == "all" else (what,):
        lines.append({"fields": "run (--set field=value)"}.get(heading, heading))
        if heading == "algos":
            for name in algos.names():
                lines += _described(name, algos.load(name), f"algos/{name}")
        elif heading == "tasks":
            for name in tasks.names():
                lines += _described(name, tasks.load(name), f"evals/tasks/{name}")
        elif heading == "models":
            lines += [f"  {name}  (embedded)" for name in embedded_models()] + ["  a folder, or a hub id"]
        elif heading == "studies":
            lines += [f"  {name}: {study.load(name).question}" for name in study.names()] + ["  or a FILE.toml"]
        else:
            lines += _fields(RunConfig)
        lines.append("")
    return "\n".join(lines).rstrip()
