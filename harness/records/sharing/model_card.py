"""The model card beside a run's final model, with the numbers of its record.

Written with huggingface_hub's `ModelCard`, so that the hub reads its metadata (base model, data set, evaluations).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.accounting.format import percent
from harness.records.io import write_text

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

{{ what }}

{{ results }}

{{ note }}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{{ place }}")
model = AutoModelForCausalLM.from_pretrained("{{ place }}")
```

{{ prompt }}

## How it was trained

{{ training }}

{{ provenance }}
"""
SHOWN = ("lr", "prompts", "group_size", "max_new_tokens", "temperature", "reward", "seed", "dtype", "system_prompt")


def write_card(folder: Path, record: Mapping[str, Any]) -> None:
    """README.md of the folder that `from_pretrained` loads."""
    write_text(folder / "README.md", card_text(record))


def card_text(record: Mapping[str, Any], place: str = "checkpoints/final") -> str:
    """The card of a record; `place` is where the model is loaded from."""
    from huggingface_hub import ModelCard

    config = record["config"]
    task, model = config["task_name"], config["model"]
    card = ModelCard.from_template(
        _metadata(record),
        template_str=TEMPLATE,
        title=f"{model} trained with {record['algo']} on {task}",
        what=(
            f"`{model}` after {record['spend']['updates']:,.0f} updates of `{record['algo']}` on the task `{task}` "
            f"(budget {config.get('budget')}, seed {record['seed']})."
        ),
        results=_results(record["evals"]),
        note=(
            "Strict: correct in the task's own answer format; lenient: in any format.  One run: it says what this "
            "model does, not which algorithm is better."
        ),
        place=place,
        prompt=_prompt(config),
        training=_training(record),
        provenance=_provenance(record),
    )
    return str(card)


def _metadata(record: Mapping[str, Any]) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    config = record["config"]
    model, hub = config["model"], config.get("task", {}).get("hub")
    last = _at_end(record["evals"])
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=row["task"],
            dataset_name=f"{row['task']} ({'sampled' if row['decoding'] == 'sampled' else 'greedy'})",
            metric_type="accuracy",
            metric_name="strict accuracy",
            metric_value=round(row["value"], 4),
        )
        for row in last
        if row["metric"] == "exact_match" and row["filter"] == "strict"
    ]
    named = HUB_ID.fullmatch(model) and not Path(model).exists()
    return ModelCardData(
        base_model=model if named else None,
        datasets=[hub] if hub else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["reinforcement-learning", Path(record["algo"]).stem, "post-training-harness"],
        model_name=f"{Path(record['algo']).stem}-{config['task_name']}" if results else None,
        eval_results=results or None,
    )


def _at_end(evals: list[Any]) -> list[Any]:
    last = max((row["fraction"] for row in evals), default=0.0)
    return [row for row in evals if row["fraction"] == last]


def _results(evals: list[Any]) -> str:
    if not evals:
        return "No evaluation was made."
    first = min(row["fraction"] for row in evals)
    start = {
        row["task"]: row["value"]
        for row in evals
        if row["fraction"] == first and (row["metric"], row["filter"]) == ("exact_match", "strict")
    }
    lines = [
        "| evaluation | decoding | before | after, strict | after, lenient | problems |",
        "|---|---|---|---|---|---|",
    ]
    end = {(r["task"], r["metric"], r["filter"]): r for r in _at_end(evals)}
    for (task, metric, filter), row in end.items():
        if (metric, filter) != ("exact_match", "strict"):
            continue
        lenient = end.get((task, "exact_match", "lenient"))
        decoding = f"temperature {row['temperature']:g}" if row["decoding"] == "sampled" else "greedy"
        lines.append(
            f"| {task} | {decoding} | {percent(start.get(task))} | {percent(row['value'])} | "
            f"{percent(lenient['value'] if lenient else None)} | {row['n']:,} |"
        )
    return "\n".join(lines)


def _prompt(config: Mapping[str, Any]) -> str:
    task = config.get("task", {})
    lines = ["Ask it as it was asked: the run's `samples.jsonl` has prompts word by word."]
    if instruction := task.get("instruction"):
        lines.append(f"Its instruction was:\n\n```\n{instruction}\n```")
    if system := config.get("system_prompt"):
        lines.append(f"Its system prompt was:\n\n```\n{system}\n```")
    return "\n\n".join(lines)


def _training(record: Mapping[str, Any]) -> str:
    config, spend = record["config"], record["spend"]
    fields = {name: config[name] for name in SHOWN if config.get(name) not in (None, "")}
    fields |= {f"algo.{name}": value for name, value in config.get("algo", {}).items()}
    rows = ["| field | value |", "|---|---|", *(f"| `{name}` | `{value}` |" for name, value in fields.items())]
    spent = ", ".join(
        f"{spend[unit]:,.0f} {unit.replace('_', ' ')}"
        for unit in ("completions", "generated_tokens", "trained_tokens", "updates")
        if unit in spend
    )
    return "\n".join([*rows, "", f"Spent: {spent}, {spend.get('flops', 0):.3g} FLOPs by the model's own formula."])


def _provenance(record: Mapping[str, Any]) -> str:
    environment = record["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    commit = environment.get("commit")
    changed = " (with changes that were not committed)" if environment.get("dirty") else ""
    data = [f"{s['name']} `{s['sha256'][:16]}`" for s in environment.get("data", [])]
    lines = [
        f"- configuration: sha256 `{str(record.get('config_sha256'))[:16]}`",
        f"- data: {', '.join(data) or '-'}",
        f"- device: {environment.get('device')}; {packages}",
    ]
    if commit:
        lines.append(f"- code: commit `{commit}`{changed}")
    return "\n".join(["The whole record is the run's `record.json`, with every field and every hash:", "", *lines])
