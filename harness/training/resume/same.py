"""A run is resumed only as the run that it began as: the same configuration, and the same behind its names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.experiment import with_defaults
from harness.records.fingerprint import config_differences
from harness.records.io import read_json
from harness.records.runs import has_record, is_folded, raw_record, record_place
from harness.records.schema import Record, check_shape
from harness.records.upgrade import upgrade_own, upgrade_record


def check_same(folder: Path, record: Record) -> None:
    """Raises ValueError, one line, showing the fields and inputs that differ from those of the record in `folder`.

    What an old record does not hold cannot be compared.
    """
    if not has_record(folder):
        return  # cut off before its first word: it starts from the beginning
    old = begun_record(folder)
    new = json.loads(json.dumps(record))  # as it would read from a file: tuples are lists
    config = new["config"]
    began = {**old["config"], "algo": upgrade_own(old["config"].get("algo", {}), config["algo"])}
    began.setdefault("chat_date", config["chat_date"])  # runs of before it read the clock's, which may be given now
    differ = config_differences(with_defaults(began, config["algo_name"], config["task_name"]), config)
    if old["environment"]["model"] != new["environment"]["model"]:
        differ.append(f"model: {old['environment']['model']} -> {new['environment']['model']}")
    named = [r["environment"].get("reward_model") for r in (old, new)]
    if named[0] != named[1]:
        differ.append(f"reward_model: {named[0]} -> {named[1]}")
    if differ:
        raise ValueError(f"resume: {folder} was begun with another configuration: {'; '.join(differ)}")
    if changed := input_differences(_inputs(old["environment"]), _inputs(new["environment"])):
        raise ValueError(
            f"resume: {folder} was begun with other inputs; since then there have changed: {'; '.join(changed)}"
        )


def input_differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What has another hash, or is gone.  What only the new run has was not recorded then."""
    return [name for name in old if old[name] != new.get(name)]


def _inputs(environment: Mapping[str, Any]) -> dict[str, str]:
    """A record's own table; of records that have none, what they hold of their evaluation sets."""
    sets = {f"ids and golds of {s['name']}": s["sha256"] for s in environment.get("data", [])}
    prompts = {"evaluation prompts": sha} if (sha := environment.get("prompt_sha256")) else {}
    return {**sets, **prompts, **environment.get("inputs", {})}


def begun_record(folder: Path) -> dict[str, Any]:
    """The record of a run that has begun, with today's names.

    Raises ValueError naming the record, and the field of it that no run would have written."""
    file = record_place(folder)
    try:
        record = raw_record(folder) if is_folded(folder) else read_json(file)
        record = upgrade_record(record) if isinstance(record, dict) else record
        check_shape(record, "begun")
    except (OSError, ValueError) as error:
        fault = f"{file}: not the record of a run: {error}; move it away, or choose another --name"
        raise ValueError(f"resume: {fault}") from error
    return dict(record or {})


def earlier_record(folder: Path) -> dict[str, Any]:
    """The record that a run's last sitting left; empty where there is none."""
    return begun_record(folder) if has_record(folder) else {}


def finished(folder: Path) -> bool:
    """Does the folder hold a run that has come to its end?"""
    return has_record(folder) and bool(begun_record(folder)["status"] == "finished")
