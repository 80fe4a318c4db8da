"""As many optimiser steps for every arm of a study: predicted from recorded runs, and chosen.

    live      updates = rounds x epochs x minibatches,      rounds = completions that the budget pays for / (P x G)
    initial   updates = epochs x (groups that are kept / P)
    dataset   updates = rounds

What a completion costs in the budget's unit, and the share that rejection sampling keeps, are those of finished runs:
of the arm's own, else of its algorithm, else of its model, on its task.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.overrides import Fields, merge_overrides
from harness.records.runs import read_record, run_folders
from harness.records.schema import Record, check_shape
from harness.studies.planned_run import PlannedRun
from harness.studies.status import resolved_config
from harness.studies.storage import stored_study
from harness.studies.study import Study, check

UNEQUAL = 1.5  # times as many updates as another arm of the same table: a caution


@dataclass(frozen=True)
class Steps:
    """What one arm will do."""

    updates: float
    field: str  # what changes their number: algo.minibatches, algo.epochs or prompts
    value: int  # of that field
    inverse: bool = False  # more of it is fewer updates
    most: int | None = None  # of that field


def predicted_steps(study: Study, out: str) -> dict[str, Steps | None]:
    """By arm; None where no finished run under OUT says what a completion of its model and task costs."""
    records = _finished(Path(out))
    first = {run.arm: run for run in reversed(study.runs())}
    return {arm: _steps(first[arm], out, records) for arm in study.arms}


def with_equal_updates(study: Study, out: str, target: int) -> Study:
    """The study under another name, its arms with about `target` updates each.

    Where such a study is stored under OUT already, its own choice is kept: it was made before its runs.
    Raises ValueError naming an arm whose updates cannot be predicted.
    """
    if target < 1:
        raise ValueError(f"--updates: must be at least 1, not {target}")
    name = f"{study.name}-updates{target}"
    stored = stored_study(Path(out, name))
    if stored is not None:
        arms = {arm: stored.arms[arm] for arm in study.arms if arm in stored.arms}
        return check(dataclasses.replace(study, name=name, arms={**study.arms, **arms}))
    arms = {}
    for arm, steps in predicted_steps(study, out).items():
        if steps is None:
            raise ValueError(
                f"--updates: no finished run under {out} says what a completion costs arm '{arm}': "
                "run it once there, at any budget, or set its fields with --set"
            )
        arms[arm] = merge_overrides(study.arms[arm], matched_field(steps, target))
    return check(dataclasses.replace(study, name=name, arms=arms))


def matched_field(steps: Steps, target: int) -> Fields:
    """The field that brings an arm nearest to the target, e.g. {"algo.minibatches": 8}."""
    ratio = target / max(steps.updates, 1e-9)
    value = max(1, round(steps.value / ratio if steps.inverse else steps.value * ratio))
    return {steps.field: min(value, steps.most) if steps.most else value}


def updates_lines(study: Study, out: str) -> list[str]:
    """Before a study runs: the updates of its arms, and whether some take more than UNEQUAL times those of others."""
    steps = predicted_steps(study, out)
    known = {arm: x.updates for arm, x in steps.items() if x is not None}
    if len(known) < 2:
        return []
    lines = [f"updates, about: {', '.join(f'{arm} {n:.0f}' for arm, n in known.items())}"]
    if max(known.values()) > UNEQUAL * min(known.values()):
        lines.append(
            "arms differ in optimiser steps: what is read as a difference of methods may be one of these; "
            "--updates N chooses minibatches, epochs or prompts for about N each"
        )
    return lines


def _steps(run: PlannedRun, out: str, records: Sequence[tuple[Path, Record]]) -> Steps | None:
    config = resolved_config(run, out)
    schedule, fields = config["schedule"], config["algo"]
    unit, limit = run.config(out).parsed_budget.unit, run.config(out).parsed_budget.limit
    counted = [(f, r) for f, r in records if r["spend"].get("completions") and r["spend"].get("updates") is not None]
    like = [(f, r) for f, r in counted if _kind(r["config"]) == _kind(config)]
    same = [r for _, r in like if r["algo"] == config["algo_name"]]
    own = [r for f, r in like if f.parent == Path(out, run.folder)]
    source, prompts = schedule["source"], schedule["prompts"]
    nearest = own or same or ([r for _, r in like] if source == "live" else [])
    if not nearest:
        return None
    cost = sum(r["spend"][unit] for r in nearest) / sum(r["spend"]["completions"] for r in nearest)
    if cost == 0:
        return None
    completions = limit / cost
    if source == "live":
        rounds = completions / (prompts * schedule["group_size"])
        passes = int(fields.get("epochs", 1))
        minibatches = int(schedule["minibatches"])
        field, value = ("algo.minibatches", minibatches) if "minibatches" in fields else ("prompts", prompts)
        inverse = field == "prompts"
        return Steps(rounds * passes * minibatches, field, value, inverse, None if inverse else prompts)
    if source == "dataset":
        return Steps(completions / prompts, "prompts", prompts, True)
    kept = [
        r["spend"]["updates"] * r["config"]["schedule"]["prompts"]
        / (r["spend"]["completions"] * r["config"]["schedule"]["epochs"])
        for r in nearest
    ]  # fmt: skip
    per_pass = completions * sum(kept) / len(kept) / prompts
    return Steps(per_pass * schedule["epochs"], "algo.epochs", int(schedule["epochs"]))


def _kind(config: Any) -> str:
    return json.dumps([config[name] for name in ("model", "task_name", "task")], sort_keys=True, default=str)


def _finished(root: Path) -> list[tuple[Path, Record]]:
    """Every finished run whose record can be read: an estimate does without the others."""
    found: list[tuple[Path, Record]] = []
    for folder in run_folders(root):
        try:
            record = read_record(folder)
            check_shape(record, "cost")
        except ValueError:
            continue
        if record is not None and record["status"] == "finished" and "schedule" in record["config"]:
            found.append((folder, record))
    return found
