"""Tasks by name, by FILE.py, or by an lm-eval FILE.yaml."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path

from evals.tasks.base import EvalSet, Problem, Task
from evals.tasks.benchmarks import catalog
from evals.tasks.benchmarks.task import task_of
from evals.tasks.lm_eval_yaml import task_of_yaml
from evals.tasks.user_file import file_of, import_file, named_errors
from evals.verification.verifier import Verdict

INTERFACE = ("base", "registry", "user_file", "lm_eval_yaml")  # modules of this package that are not tasks
ALIASES = {"gsm8k": "harness_gsm8k"}
YAML = (".yaml", ".yml")
NAME = re.compile(r"\w[\w.-]*")  # of tasks and evaluation sets: they name files


def names() -> list[str]:
    """The tasks that ship: one per module of this package."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(m.name for m in modules if not m.ispkg and m.name not in INTERFACE)


def benchmark_names() -> list[str]:
    """The benchmarks that `--task` and `--eval-tasks` take; `gsm8k` as a task is `harness_gsm8k`."""
    return list(catalog.names())


def load(name: str) -> type[Task]:
    """The class of task `name`, the one defined in FILE.py, or that of an lm-eval FILE.yaml.

    Raises ValueError on an unknown name (listing the valid ones) or a file without exactly one whole Task.
    """
    name = ALIASES.get(name, name)
    if name.endswith(YAML):
        return _named(task_of_yaml(Path(name)), name)
    if name in catalog.names() and name not in catalog.OTHER_TASKS:
        return task_of(name)
    if name.endswith(".py"):
        module = import_file(Path(name))
    elif name in names():
        module = importlib.import_module(f"evals.tasks.{name}")
    else:
        known = ", ".join([*names(), *benchmark_names()])
        raise ValueError(f"task: unknown task '{name}'; valid: {known}, or a FILE.py or FILE.yaml")
    classes = {c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Task)}
    found = sorted((c for c in classes if c.__module__ == module.__name__), key=lambda c: c.__name__)
    if len(found) != 1:
        listed = f"{len(found)}: {', '.join(c.__name__ for c in found)}" if found else "0"
        raise ValueError(f"task: {name} must define exactly one Task, found {listed}")
    cls = found[0]
    if missing := sorted(cls.__abstractmethods__):
        raise ValueError(f"task: {name}: {cls.__name__} lacks what every Task has: {', '.join(missing)}")
    return _named(cls, f"{name}: {cls.__name__}")


def _named(cls: type[Task], place: str) -> type[Task]:
    """The class, if files may have its name.  Raises ValueError."""
    if not (isinstance(called := getattr(cls, "name", None), str) and NAME.fullmatch(called)):
        raise ValueError(f"task: {place}.name must be letters, digits, '_', '-' and '.', not {called!r}")
    return cls


# ---------------------------------------------------------------- what a user's task gives, checked before a run


def train_problems(task: Task, seed: int) -> Sequence[Problem]:
    """`task.train(seed)`.  Raises ValueError, one line, where the task of a FILE.py raises or gives no problems."""
    with named_errors(type(task)):
        problems = task.train(seed)
        if file_of(type(task)):
            _check_problems(problems, "train")
        return problems


def evaluation_sets(task: Task, limit: int | None) -> list[EvalSet]:
    """`task.eval_sets(limit)`.  Raises ValueError, one line, where the task of a FILE.py raises, gives no sets that can
    be scored, or does not verify."""
    with named_errors(type(task)):
        sets = task.eval_sets(limit)
        if file_of(type(task)):
            _check_sets(task, sets)
        return sets


def _check_problems(problems: object, place: str) -> None:
    if not isinstance(problems, Sequence) or not problems:
        raise ValueError(f"{place}: must give a list of problems, at least one, not {_shown(problems)}")
    for i, problem in enumerate(problems):
        if not isinstance(problem, Problem):
            raise ValueError(f"{place}: item {i} is not a Problem: {_shown(problem)}")
        for field in ("id", "prompt", "gold"):
            if not isinstance(text := getattr(problem, field), str):
                raise ValueError(f"{place}: item {i}: {field} must be text, not {_shown(text)}")


def _check_sets(task: Task, sets: object) -> None:
    if not isinstance(sets, list) or not sets or not all(isinstance(s, EvalSet) for s in sets):
        raise ValueError(f"eval_sets: must give a list of EvalSet, at least one, not {_shown(sets)}")
    for s in sets:
        if not NAME.fullmatch(s.name):
            raise ValueError(f"eval_sets: a set's name is letters, digits, '_', '-' and '.', not {s.name!r}")
        _check_problems(s.problems, f"eval_sets: {s.name}")
    if len({s.name for s in sets}) < len(sets):
        raise ValueError(f"eval_sets: two sets have one name: {', '.join(s.name for s in sets)}")
    if not any(s.domain == "in" and s.temperature == 0 for s in sets):
        raise ValueError('eval_sets: one set must have domain="in" and temperature=0: arms are compared on it')
    verdict = task.verify(sets[0].problems[0], "", True)
    if not isinstance(verdict, Verdict):
        raise ValueError(f"verify: must give a Verdict, not {_shown(verdict)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
