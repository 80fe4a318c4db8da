"""Where converted models are kept between runs: $HARNESS_CACHE, else post-training-harness below $XDG_CACHE_HOME, else
below ~/.cache.  Each has a folder of its own, named after its name and content, which is whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def root() -> Path:
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "post-training-harness"


def folder(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, made once: `make` fills an empty one beside it, which is then renamed.

    Processes wait for one another.  Raises ValueError, one line, where the disk does not take it.
    """
    where = root() / "models"
    if (where / name).is_dir():
        return where / name
    try:
        where.mkdir(parents=True, exist_ok=True)
        with FileLock(where / f"{name}.lock"):
            if not (where / name).is_dir():
                beside = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=where))
                try:
                    make(beside)
                    beside.chmod(0o755)
                    beside.rename(where / name)
                finally:
                    shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise ValueError(
            f"model: cannot keep the converted model in {where}: {error.strerror}; set HARNESS_CACHE"
        ) from error
    return where / name
