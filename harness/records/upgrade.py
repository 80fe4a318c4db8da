"""Reading what was written before: the one table of old names.

Schema 1 called fields of the configuration by other names.  `upgrade_record` and `upgrade_fields` give a record, and
the tables of a study, the names of today; nothing is written.
"""

from __future__ import annotations

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
# An algorithm in a user's FILE.py may have fields of its own by these names.  It is a subclass of one that ships, whose
# fields are renamed, where its record has all of one of these: records hold every field.
FAMILIES = ({"center", "scale", "average", "kl_in", "drop"}, {"lam", "lam_critic", "average", "kl_in"}, {"correct_at"})


def renamed(name: str) -> str:
    """Today's name of a field, dotted or not: `algo.lam` is `algo.gae_lambda`."""
    group, dot, inner = name.rpartition(".")
    return f"{group}{dot}{RENAMED.get(group, {}).get(inner, inner)}"


def upgrade_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """A table of fields with today's names, groups inside it and dotted names included."""
    upgraded: dict[str, Any] = {}
    for name, value in fields.items():
        group, _, inner = name.rpartition(".")
        if name in RENAMED and isinstance(value, dict):
            value = _upgrade_group(name, value)
        elif inner == "sources" and isinstance(value, dict):
            value = {renamed(field): source for field, source in value.items()}
        upgraded[renamed(name)] = _upgrade_value(renamed(name), value)
    return upgraded


def _upgrade_group(group: str, table: dict[str, Any]) -> dict[str, Any]:
    names = RENAMED[group]
    kept = {names.get(name, name): value for name, value in table.items() if name not in GONE.get(group, ())}
    return {name: _upgrade_value(name, value) for name, value in kept.items()}


def _upgrade_value(name: str, value: Any) -> Any:
    return VALUES.get((name.rpartition(".")[2], value), value) if isinstance(value, str) else value


def upgrade_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record of schema 1 as one of schema 2; any other as it is."""
    if record.get("schema") != 1:
        return record
    upgraded = {**record, "schema": SCHEMA}
    if isinstance(config := record.get("config"), dict):
        upgraded["config"] = upgrade_fields(config)
        if not _is_ours(str(record.get("algo")), config.get("algo")):
            upgraded["config"]["algo"] = config.get("algo")
    if isinstance(phases := record.get("phases"), dict):
        upgraded["phases"] = _upgrade_phases(phases)
    return upgraded


def _is_ours(name: str, fields: Any) -> bool:
    """Are these the fields of an algorithm that ships, or of a subclass of one?"""
    return not name.endswith(".py") or (isinstance(fields, dict) and any(set(fields) >= names for names in FAMILIES))


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


def upgrade_state(state: dict[str, Any], algo: str) -> dict[str, Any]:
    """A checkpoint's state.json with today's names; `algo` is the name or the FILE.py of the algorithm."""
    if "schema" in state:
        return state
    upgraded = {STATE.get(name, name): value for name, value in state.items()}
    fields = _upgrade_group("algo", state["algo"]) if _is_ours(algo, state["algo"]) else state["algo"]
    return {**upgraded, "algo": fields, "phases": _upgrade_phases(state["phases"])}


def upgrade_tensors(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors beside it, `PLACE.NAME` or `source.PLACE.NAME`: those of rollouts have today's names."""
    upgraded = {}
    for name, x in tensors.items():
        place, dot, last = name.rpartition(".")
        place = f"reward_{place}" if place.startswith("source.") else place
        upgraded[f"{place}{dot}{TENSORS.get(last, last)}"] = x
    return upgraded
