"""When two runs are of one kind: the hash of a configuration, and the fields and inputs in which two differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.records.io import sha256

NEUTRAL = (
    "name", "out", "keep_checkpoints", "checkpoint_every", "resume", "reward_timeout", "threads", "sources", "track",
    "track_project", "parallel", "cpu_offload",
)  # fmt: skip


def config_sha256(config: dict[str, Any]) -> str:
    """Of the resolved configuration, less what changes no number (NEUTRAL)."""
    named = {k: v for k, v in config.items() if k not in NEUTRAL}
    return sha256(json.dumps(named, sort_keys=True).encode())


def config_differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two resolved configurations differ, as `field: old -> new`."""
    differences = []
    for name in sorted(set(old) | set(new)):
        if not prefix and name in NEUTRAL:
            continue
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            differences += config_differences(a, b, f"{prefix}{name}.")
        elif a != b:
            differences.append(f"{prefix}{name}: {a} -> {b}")
    return differences


def inputs_of_both(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, its hash in record a, in record b) of the inputs that both hold, and that must agree in one study.

    Training problems go by the seed, and by where completions are from (without a written solution there is none).
    """
    inputs = [record["environment"].get("inputs", {}) for record in (a, b)]
    kinds = [(record["seed"], record["config"].get("schedule", {}).get("source")) for record in (a, b)]
    for name in sorted(set(inputs[0]) & set(inputs[1])):
        if "training" not in name or kinds[0] == kinds[1]:
            yield f"the hash of '{name}'", inputs[0][name][:12], inputs[1][name][:12]
