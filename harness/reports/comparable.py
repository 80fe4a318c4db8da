"""What two runs of one study must have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.config.run_config import RunConfig
from harness.records.fingerprint import inputs_of_both
from harness.records.schema import Record

SHARED = ("task_name", "task", "model", "chat_date", "eval_split", "max_new_tokens", "temperature")  # of the config


def shared_fields(a: Record, b: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configurations of two runs, in the fields that both versions of the harness had; others have defaults."""
    defaults, configs = RunConfig().as_dict(), [record["config"] for record in (a, b)]
    shared = {group: set.intersection(*(set(c.get(group, {})) for c in configs)) for group in ("algo", "schedule")}
    inner = [{g: {k: c[g][k] for k in names if g in c} for g, names in shared.items()} for c in configs]
    config_a, config_b = ({**defaults, **c, **i} for c, i in zip(configs, inner, strict=True))
    return config_a, config_b


def must_agree(a: Record, b: Record) -> Iterator[tuple[str, Any, Any]]:
    """(name, value of a, value of b) of everything that must be equal in all runs of a study."""
    config_a, config_b = shared_fields(a, b)
    if ("imported" in a) != ("imported" in b):
        yield "its trainer", *(record.get("imported", {}).get("trainer", "this harness") for record in (a, b))
    for name in SHARED:
        yield name, config_a[name], config_b[name]
    yield "budget", a["budget"], b["budget"]
    yield "the start model", a["environment"]["model"], b["environment"]["model"]
    data = [{d["name"]: d["sha256"][:12] for d in record["environment"]["data"]} for record in (a, b)]
    for name in dict.fromkeys([*data[0], *data[1]]):
        yield f"the evaluation data of '{name}'", data[0].get(name), data[1].get(name)
    yield from inputs_of_both(a, b)
    versions_a, versions_b = ({r["task"]: r["version"] for r in record["evals"]} for record in (a, b))
    yield "the tasks' versions", versions_a, versions_b
