"""When two configurations are the same: the hash of one, and the fields in which two differ."""

from __future__ import annotations

import json
from typing import Any

from harness.records.io import sha256

NEUTRAL = ("name", "out", "keep_checkpoints", "checkpoint_every", "resume", "sources")


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
