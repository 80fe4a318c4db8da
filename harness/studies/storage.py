"""A study stored in the folder of its records, as study.json."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.config.overrides import Fields
from harness.records.io import read_json, write_json
from harness.records.schema import SCHEMA
from harness.records.upgrade import check_schema, renamed, upgrade_fields, upgrade_value
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
        return parse(name, {**(_upgrade(table) if old else table), "name": name})
    except (TypeError, ValueError, OSError) as error:
        raise ValueError(f"{file}: {error}") from error


def store_study(folder: Path, study: Study) -> None:
    """Write it.  A study may gain arms and seeds, but not lose arms that have been run.  Raises ValueError."""
    file = folder / "study.json"
    if lost := [arm for arm in _stored_arms(file) if arm not in study.arms]:
        raise ValueError(f"{folder} is a study with {', '.join(lost)} as well; choose another --name")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, {"schema": SCHEMA, **study.as_dict()})


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
