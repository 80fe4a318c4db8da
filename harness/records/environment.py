"""Versions, machine and commit: what a number needs beside it."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.records.variables import recorded

PACKAGES = ("torch", "transformers", "accelerate", "lm_eval", "datasets", "tokenizers", "numpy", "math-verify")


def environment(device: str, threads: int) -> dict[str, Any]:
    """Versions, machine, commit, and variables of the environment that act on numbers (variables.py).  A copy without
    its repository is told its commit (HARNESS_COMMIT), and whether it has changes is then not known."""
    packages, commit = {}, _git("rev-parse", "HEAD")
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "absent"
    return {
        "python": platform.python_version(),
        "packages": packages,
        "device": device,
        "threads": threads,
        "cpu": _cpu(),
        "variables": recorded(os.environ),
        "commit": commit or os.environ.get("HARNESS_COMMIT") or None,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,  # None: no repository
    }


def _git(*words: str) -> str:
    """Of the repository that tracks this file: an installed copy may lie inside somebody else's."""
    return _run_git(*words) if _run_git("ls-files", Path(__file__).name) else ""


def _run_git(*words: str) -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
