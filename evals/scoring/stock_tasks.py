"""`--eval-tasks`: lm-eval's own tasks, and tasks of a user's YAML files, by name and include path.

gsm8k, lm_eval:gsm8k     a name; with the prefix lm-eval's own, where a benchmark of ours has that name too
my/task.yaml             the task or group that it defines
my/folder                all tasks that its YAML files define: lm-eval's include path
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PREFIX = "lm_eval:"
YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class StockTasks:
    """StockTasks(names=("hellaswag", "mine"), include=("my/folder",), defaults=True)"""

    names: tuple[str, ...] = ()
    include: tuple[str, ...] = ()  # folders with YAML files
    defaults: bool = True  # is any of them lm-eval's own?


class _Loader(yaml.SafeLoader):
    """YAML in which a tag is its text: nothing is run by looking for names."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def stock_tasks(words: Sequence[str]) -> StockTasks:
    """Raises ValueError, one line, where a file or folder defines no task."""
    names: list[str] = []
    include: list[str] = []
    own = False
    for word in words:
        path = Path(word).expanduser()
        if word.endswith(YAML):
            names.append(_defined(path))
            include.append(str(path.parent))
        elif path.is_dir() and not word.startswith(PREFIX):
            names += _folder(path)
            include.append(str(path))
        else:
            names.append(word.removeprefix(PREFIX))
            own = True
    return StockTasks(tuple(dict.fromkeys(names)), tuple(dict.fromkeys(include)), own)


def _defined(file: Path) -> str:
    """The name of the task or group in a YAML."""
    if not file.is_file():
        raise ValueError(f"eval_tasks: no file {file}")
    try:
        table: Any = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"eval_tasks: {file} cannot be read: {' '.join(str(error).split())}") from None
    table = table if isinstance(table, dict) else {}
    named = [table[key] for key in ("task", "group") if isinstance(table.get(key), str)]
    if not named:
        raise ValueError(f"eval_tasks: {file}: it defines no task: there is no `task:` with a name")
    return str(named[0])


def _folder(folder: Path) -> list[str]:
    """The tasks of its YAML files; those that others include define none."""
    found = []
    for file in sorted(f for f in folder.rglob("*") if f.suffix in YAML):
        try:
            found.append(_defined(file))
        except ValueError:
            continue
    if not found:
        raise ValueError(f"eval_tasks: {folder}: no YAML file in it defines a task")
    return found
