"""`harness list --markdown`: every field with its default, type and meaning, as the page docs/configuration.md."""

from __future__ import annotations

from typing import Any

from evals import tasks
from harness.cli.lists.catalog import file_of, summary_of
from harness.config.field_docs import FieldDoc, fields_of
from harness.config.lora import LoraFields
from harness.config.rewards import RewardModelFields
from harness.config.run_config import RunConfig
from harness.studies.schema import Hypothesis, Report, ScaleProfile, Tune
from harness.studies.study import Study

HEAD = """# Configuration

<!-- made by `harness list --markdown > docs/configuration.md` from the comments behind the fields; do not edit -->

A run is configured in layers: defaults, the model's `model_defaults.toml`, a file (`--config FILE.toml` or FILE.yaml),
the command line.  `--set FIELD=VALUE` sets any field; `algo.`, `task.`, `reward_model.`, `reward_weights.` and `lora.`
lead into their tables.  An unknown field is an error that lists the valid ones.  In a file, `algo.name` and `task.name`
stand for `algo_name` and `task_name`.
"""

TASKS = """## Tasks

`--task NAME`, a FILE.py with one `Task`, or an lm-eval FILE.yaml with a train split; `--set task.FIELD=VALUE`.
"""


def page() -> str:
    """The page as Markdown, without the last line's end."""
    import algos

    variants = algos.variant_names()
    parts = [HEAD, section("A run", "`--set FIELD=VALUE`, or the option of that name.", RunConfig)]
    parts += [section("Learned rewards", "`--set reward_model.FIELD=VALUE`.", RewardModelFields)]
    parts += [section("Adapters", "`--lora FIELD=VALUE,...`, or `--set lora.FIELD=VALUE`.", LoraFields)]
    parts += ["## Algorithms\n\n`--algo NAME`, or a FILE.py with one `Algorithm`; `--set algo.FIELD=VALUE`.\n"]
    parts += [part(name, algos.load(name)) for name in algos.names() if name not in variants]
    parts += ["## Variants\n\nAn algorithm with other defaults; it has all fields of its base.\n"]
    parts += [part(name, algos.load(name), algos.load(name).__mro__[1]) for name in variants]
    parts += [TASKS]
    parts += [part(name, tasks.load(name)) for name in tasks.names()]
    parts += [section("Study files", "`harness ablate FILE.toml`; see `harness/studies/study.py`.", Study)]
    for title, cls in (("[tune]", Tune), ("[report]", Report), ("[[hypotheses]]", Hypothesis)):
        parts += [f"### `{title}`\n\n{table(fields_of(cls))}"]
    parts += [section("Scale profiles", "`--profile NAME`, or a FILE.toml.", ScaleProfile)]
    return "\n".join(parts).rstrip("\n")


def section(title: str, text: str, cls: Any) -> str:
    return f"## {title}\n\n{text}\n\n{table(fields_of(cls))}"


def part(name: str, cls: Any, base: Any = None) -> str:
    """An algorithm or a task; with a `base`, its own defaults alone."""
    known = {f.name: f.default for f in fields_of(base)} if base else {}
    fields = [f for f in fields_of(cls) if known.get(f.name) != f.default]
    return f"### {name}\n\n{summary_of(cls)}  (`{file_of(cls)}`)\n\n{table(fields)}"


def table(fields: list[FieldDoc]) -> str:
    rows = ["| field | default | type | meaning |", "|---|---|---|---|"]
    rows += [f"| `{f.name}` | `{_cell(f.default)}` | {_cell(f.kind)} | {_cell(f.doc)} |" for f in fields]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """Pipes end a cell, and HTML is none."""
    return text.replace("|", "\\|").replace("<", "&lt;")
