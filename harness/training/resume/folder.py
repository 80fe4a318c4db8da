"""Where a run is kept: a folder that is free, or that of the run that is resumed."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from harness.config.files.paths import check_no_links
from harness.config.run_config import RunConfig
from harness.records import lock
from harness.records.runs import has_record


def run_folder(config: RunConfig, task: str) -> Path:
    """OUT/NAME.  A name that the user gave must be free; the default name is numbered if taken."""
    out = Path(config.out)
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"out: cannot write in {existing}")
    stem = f"{Path(config.algo_name).stem}-{task}-s{config.seed}"
    if config.resume:
        return check_no_links(check_meant(out / (config.name or stem)))
    if config.name is not None:
        check_free(out / config.name)
        return out / config.name
    numbered = (out / (stem if k == 1 else f"{stem}-{k}") for k in range(1, 10**6))
    return next(folder for folder in numbered if not folder.exists() and not has_record(folder))


def check_meant(folder: Path) -> Path:
    """Raises ValueError where no run has this name, and one has almost this name: a word mistyped would begin a run.

    Names that differ in their digits alone are those of a series, e.g. of a job array: the next one begins.
    """
    if not folder.exists() and folder.parent.is_dir():
        series = re.sub(r"\d+", "#", folder.name)
        others = [p.name for p in folder.parent.iterdir() if (p / "record.json").is_file()]
        others = [name for name in others if re.sub(r"\d+", "#", name) != series]
        if near := difflib.get_close_matches(folder.name, others, 3, 0.8):
            raise ValueError(f"resume: there is no run {folder}; did you mean {' or '.join(near)}?")
    return folder


def check_free(folder: Path) -> None:
    """Raises ValueError where there is anything but a lock, or a run of this name is in its study's archive."""
    held = folder.iterdir() if folder.is_dir() else [folder] if folder.exists() else []
    if has_record(folder) or any(path.name != lock.NAME for path in held):
        raise ValueError(f"name: {folder} already holds another run; choose another --name, or --resume it")
