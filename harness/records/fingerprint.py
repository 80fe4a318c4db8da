"""When two configurations are the same: the hash of one, and the fields in which two differ; a user's own files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
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


def user_files(*names: str) -> dict[str, dict[str, str]]:
    """{"files": {name: sha256}} of each FILE.py (or FILE.py:function) among the names; {} where there is none."""
    paths = {name: Path(name if name.endswith(".py") else name.rpartition(":")[0]) for name in names if ".py" in name}
    files = {name: sha256(path.read_bytes()) for name, path in paths.items() if path.is_file()}
    return {"files": files} if files else {}


def changed_files(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The user's own files that differ between two environments; a record from before they were kept has none."""
    files = [environment.get("files", {}) for environment in (old, new)]
    return [f"{name} has changed" for name in files[1] if files[0].get(name, files[1][name]) != files[1][name]]
