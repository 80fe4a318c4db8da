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
    packages, commit = {name: _version(name) for name in PACKAGES}, _git("rev-parse", "HEAD")
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


def version_line() -> str:
    """What `harness --version` prints: "post-training-harness 0.1.0 (commit 0123456789ab), torch 2.13.0, ..."."""
    own = _version("post-training-harness")
    commit = _git("rev-parse", "HEAD")
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES[:4])
    where = f" (commit {commit[:12]})" if commit else ""
    return f"post-training-harness {own}{where}, python {platform.python_version()}, {packages}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


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
