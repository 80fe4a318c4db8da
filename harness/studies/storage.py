"""A study stored in the folder of its records, as study.json."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from harness.config.overrides import Fields
from harness.records.io import read_json, utc_now, write_json
from harness.records.schema import SCHEMA
from harness.records.upgrade import check_schema, renamed, upgrade_fields, upgrade_value
from harness.studies.registration import FILE as LOCK
from harness.studies.registration import Lock, asked, held_to, read_lock, write_lock
from harness.studies.study import Study, parse


def stored_study(folder: Path) -> Study | None:
    """None where none is stored.  Raises ValueError naming the file."""
    file = folder / "study.json"
    if not file.exists():
        return None
    try:
        table = dict(read_json(file))
        old = check_schema(table.pop("schema", 1)) == 1
        name = Path(os.path.abspath(folder)).name  # of `.` too
        study = parse(name, {**(_upgrade(table) if old else table), "name": name})
    except (TypeError, ValueError, OSError) as error:
        raise ValueError(f"{file}: {error}") from error
    return held_to(read_lock(folder), study, folder)


def store_study(folder: Path, study: Study) -> None:
    """Write it, and before its first run its lock.  A study may gain arms, seeds and claims, which are then marked as
    asked later; it may not lose arms that have been run, nor change what is locked.  Raises ValueError."""
    file = folder / "study.json"
    if lost := [arm for arm in _stored_arms(file) if arm not in study.arms]:
        raise ValueError(f"{folder} is a study with {', '.join(lost)} as well; choose another --name")
    lock = read_lock(folder)
    before = stored_study(folder) if lock is None else None  # of before there were locks: what it asked until now
    first, locked = before or study, None if before else utc_now()
    held = held_to(lock or Lock(locked, asked(first)), study, folder)  # before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    if lock is None:
        write_lock(folder, first, locked)
    write_json(file, {"schema": SCHEMA, **held.as_dict()})


def fold_study(folder: Path) -> list[Path]:
    """Fold the runs of a study that have ended, and the trials that it keeps with another study.  Returns the folders
    that were.  Raises ValueError as `fold` does."""
    from harness.records.archive.folding import fold

    study = stored_study(folder)
    store = study.tune.store if study is not None and study.tune is not None else None
    return [*fold(folder), *(fold(folder.parent / store, "tune") if store else [])]


def withdraw_study(folder: Path) -> None:
    """Take back what `store_study` wrote into a new folder, where no run could begin: nothing has been asked then, and
    what was wrong with the question may be put right under the same name."""
    for name in ("study.json", LOCK):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else lies there
        folder.rmdir()


def _stored_arms(file: Path) -> list[str]:
    """Raises ValueError naming the file, where it is not that of a study."""
    try:
        return list(read_json(file)["arms"]) if file.exists() else []
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{file}: not a study: {error}") from error


def _upgrade(table: Fields) -> Fields:
    """A study of schema 1 with today's names of fields.  What is no table stays as it is, and `parse` refuses it."""
    return {
        name: PARTS[name](value) if name in PARTS and isinstance(value, dict) else value
        for name, value in table.items()
    }


def _upgrade_arms(arms: Fields) -> Fields:
    return {arm: _upgrade(upgrade_fields(own)) if isinstance(own, dict) else own for arm, own in arms.items()}


def _upgrade_grid(grid: Fields) -> Fields:
    return {
        renamed(name): [upgrade_value(renamed(name), x) for x in values] if isinstance(values, list) else values
        for name, values in grid.items()
    }


def _upgrade_algos(algos: Fields) -> Fields:
    return {name: upgrade_fields({"algo": own})["algo"] for name, own in algos.items()}


PARTS: dict[str, Callable[[Fields], Fields]] = {  # of a study, its arms, its tuning and its profile
    "arms": _upgrade_arms,
    "base": upgrade_fields,
    "scale": upgrade_fields,
    "fields": upgrade_fields,
    "tune": _upgrade,
    "grid": _upgrade_grid,
    "profile": _upgrade,
    "algos": _upgrade_algos,
}
