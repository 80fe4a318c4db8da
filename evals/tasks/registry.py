"""Tasks by name."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from evals.tasks.base import Task

INTERFACE = ("base", "registry")  # modules of this package that are not tasks
ALIASES = {"gsm8k": "harness_gsm8k"}


def names() -> list[str]:
    """All tasks: one per module of this package."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(m.name for m in modules if not m.ispkg and m.name not in INTERFACE)


def load(name: str) -> type[Task]:
    """The class of task `name`.  Raises ValueError on an unknown name, listing the valid ones."""
    name = ALIASES.get(name, name)
    if name not in names():
        raise ValueError(f"task: unknown task '{name}'; valid: {', '.join([*names(), *ALIASES])}")
    module = importlib.import_module(f"evals.tasks.{name}")
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Task) and c.__module__ == module.__name__
    ]
    assert len(classes) == 1, f"evals/tasks/{name}.py must define exactly one Task"
    return classes[0]
