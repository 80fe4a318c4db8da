"""Reading what was written before: the one table of old names.

Schema 1 called fields of the configuration by other names.  `upgrade_record` and `upgrade_fields` give a record, and
the tables of a study, the names of today; nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness.records.schema import SCHEMA

RUN = {
    "measure_kl": "log_reference_kl",
    "rollout_rows": "rollout_batch_size",
    "micro_tokens": "micro_batch_tokens",
    "reference_on": "reference_device",
}
ALGO = {
    "center": "baseline",
    "scale": "normalize",
    "average": "loss_aggregation",
    "kl_in": "kl_placement",
    "lam": "gae_lambda",
    "lam_critic": "critic_gae_lambda",
    "lam_alpha": "gae_lambda_alpha",
    "drop": "filter_groups",
    "correct_at": "reward_threshold",
    "best": "top_k",
    "cap": "max_per_prompt",
    "positives": "max_positives",
    "steps": "step_reduction",
    "sampling_share": "sampling_fraction",
}
SCHEDULE = {"sampling_share": "sampling_fraction"}
PHASES = {"branch": "curve_branch", "measure": "monitoring"}
RENAMED = {"": RUN, "algo": ALGO, "schedule": SCHEDULE}  # by group of the configuration
VALUES = {("filter_groups", "silent"): "zero_variance", ("source", "start"): "initial"}  # of fields, after renaming
GONE = {"schedule": ("restart",)}  # it held the same as `source`


def renamed(name: str) -> str:
    """Today's name of a field, dotted or not: `algo.lam` is `algo.gae_lambda`."""
    group, dot, inner = name.rpartition(".")
    return f"{group}{dot}{RENAMED.get(group, {}).get(inner, inner)}"


def folder_word(name: str, value: Any) -> tuple[str, Any]:
    """The name, without its group, and the value of a field as folders of trials are called by it.

    They keep the names of schema 1: a tuning that was done before is found again, not done again.
    """
    group, _, inner = name.rpartition(".")
    former = {new: old for old, new in RENAMED.get(group, {}).items()}
    values = {(field, new): old for (field, old), new in VALUES.items()}
    return former.get(inner, inner), values.get((inner, value), value) if isinstance(value, str) else value


def upgrade_value(name: str, value: Any) -> Any:
    """Today's word for a value of the field that is called `name` today."""
    return VALUES.get((name.rpartition(".")[2], value), value) if isinstance(value, str) else value


def upgrade_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """A table of fields with today's names, groups inside it and dotted names included.

    Fields of an algorithm in a user's FILE.py keep theirs, for one of them may be called `scale` and mean its own:
    see `upgrade_own`.
    """
    own = _algo_of(fields).endswith(".py")
    upgraded: dict[str, Any] = {}
    for name, value in fields.items():
        group, _, inner = name.rpartition(".")
        if own and "algo" in (name, group):
            upgraded[name] = value
            continue
        if name in RENAMED and isinstance(value, dict):
            value = _upgrade_group(name, value)
        elif inner == "sources" and isinstance(value, dict):
            value = {name if own and name.startswith("algo.") else renamed(name): x for name, x in value.items()}
        upgraded[renamed(name)] = upgrade_value(renamed(name), value)
    return upgraded


def _algo_of(fields: dict[str, Any]) -> str:
    """The name or the FILE.py that a table gives: a record's field, a study's word, or one in the study's group."""
    algo = fields.get("algo")
    named = algo.get("name") if isinstance(algo, dict) else algo
    return str(fields.get("algo_name") or fields.get("algo.name") or named or "")


def _upgrade_group(group: str, table: dict[str, Any]) -> dict[str, Any]:
    names = RENAMED[group]
    kept = {names.get(name, name): value for name, value in table.items() if name not in GONE.get(group, ())}
    return {name: upgrade_value(name, value) for name, value in kept.items()}


def upgrade_own(fields: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The recorded fields of an algorithm in a FILE.py, of which `known` are those that it has today.

    A field is renamed where the algorithm has the new name and no longer the old one: it is a subclass of one that
    ships.  Where nothing was renamed, and for an algorithm that ships, nothing changes.
    """
    inherited = {old for old, new in ALGO.items() if old not in known and new in known and new not in fields}
    upgraded = {}
    for old, value in fields.items():
        name = ALGO[old] if old in inherited else old
        upgraded[name] = upgrade_value(name, value) if old in inherited else value
    return upgraded


def upgrade_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record of schema 1 as one of schema 2; one of schema 2 as it is.  Raises ValueError on any other schema.

    What has no schema is no record: it is left to the checks of its fields.
    """
    if "schema" not in record or check_schema(record["schema"]) == SCHEMA:
        return record
    upgraded = {**record, "schema": SCHEMA}
    if isinstance(config := record.get("config"), dict):
        upgraded["config"] = upgrade_fields(config)
    if isinstance(phases := record.get("phases"), dict):
        upgraded["phases"] = _upgrade_phases(phases)
    return upgraded


def check_schema(schema: Any) -> int:
    """Raises ValueError unless this version reads it."""
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise ValueError(f"schema {schema!r}; this version reads 1 to {SCHEMA}")
    return schema


def _upgrade_phases(phases: dict[str, Any]) -> dict[str, Any]:
    return {PHASES.get(name, name): phase for name, phase in phases.items()}


# --- checkpoints ------------------------------------------------------------------------------------------------

STATE = {"aside": "reward_model_prompts", "source": "reward_source"}
TENSORS = {
    "attend_NS": "attention_mask_NS",
    "mask_NT": "completion_mask_NT",
    "key_N": "solution_id_N",
    "ended_N": "finished_N",
}


def upgrade_state(state: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """A checkpoint's state.json with today's names; `known` are the fields of the algorithm."""
    if "schema" in state:
        return state
    upgraded = {STATE.get(name, name): value for name, value in state.items()}
    return {**upgraded, "algo": upgrade_own(state["algo"], known), "phases": _upgrade_phases(state["phases"])}


def upgrade_tensors(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors beside it, `PLACE.NAME` or `source.PLACE.NAME`: those of rollouts have today's names."""
    upgraded = {}
    for name, x in tensors.items():
        place, dot, last = name.rpartition(".")
        place = f"reward_{place}" if place.startswith("source.") else place
        upgraded[f"{place}{dot}{TENSORS.get(last, last)}"] = x
    return upgraded
