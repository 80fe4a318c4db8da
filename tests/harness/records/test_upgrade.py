"""Reading what was written under the names of before."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import algos
from algos import Rollouts, Schedule
from harness.accounting.profiler import CURVE_BRANCH, MONITORING
from harness.config.run_config import RunConfig
from harness.records import upgrade
from harness.records.runs import read_record
from harness.records.schema import SCHEMA

OLD: dict[str, Any] = {
    "schema": 1,
    "status": "finished",
    "algo": "grpo",
    "seed": 0,
    "config": {
        "micro_tokens": 4096,
        "lr": 1e-4,
        "algo": {"center": "group", "drop": "silent", "kl_coef": 0.0, "average": "token"},
        "schedule": {"source": "start", "restart": True, "sampling_share": 0.5, "group_size": 16},
        "task": {"steps": [2, 3]},
        "sources": {"algo.average": "flag", "micro_tokens": "file", "lr": "profile"},
    },
    "phases": {"branch": {"seconds": 1.0}, "measure": {"seconds": 2.0}, "update": {"seconds": 3.0}},
    "budget": {},
    "spend": {},
    "evals": [],
    "environment": {},
}


def test_a_record_of_schema_1_is_read_with_todays_names(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(OLD))
    record = read_record(tmp_path)
    assert record is not None and record["schema"] == SCHEMA
    assert record["config"] == {
        "micro_batch_tokens": 4096,
        "lr": 1e-4,
        "algo": {"baseline": "group", "filter_groups": "zero_variance", "kl_coef": 0.0, "loss_aggregation": "token"},
        "schedule": {"source": "initial", "sampling_fraction": 0.5, "group_size": 16},
        "task": {"steps": [2, 3]},  # a task's own field, whatever an algorithm called one of its
        "sources": {"algo.loss_aggregation": "flag", "micro_batch_tokens": "file", "lr": "profile"},
    }
    assert set(record["phases"]) == {CURVE_BRANCH, MONITORING, "update"}
    assert json.loads((tmp_path / "record.json").read_text()) == OLD, "reading writes nothing"


def test_fields_of_a_users_own_algorithm_keep_their_names() -> None:
    own = {"scale": 2.0, "best": 3}
    config = {**OLD["config"], "algo_name": "mine.py", "algo": own}
    upgraded = upgrade.upgrade_record({**OLD, "algo": "mine.py", "config": config})["config"]
    assert upgraded["algo"] == own and "micro_batch_tokens" in upgraded
    assert "algo.average" in upgraded["sources"] and "micro_batch_tokens" in upgraded["sources"]
    assert upgrade.upgrade_own(own, known=["scale", "best", "normalize"]) == own
    state = {"algo": own, "phases": {}}
    assert upgrade.upgrade_state(state, known=["scale", "best"])["algo"] == own


def test_inherited_fields_of_a_users_subclass_are_upgraded() -> None:
    """`best` is its own, `drop` and `scale` are those of the algorithm that it extends."""
    fields = {"scale": "none", "drop": "silent", "flipped": 0.2, "best": "silent"}
    known = ["normalize", "filter_groups", "flipped", "best", "top_k"]
    assert upgrade.upgrade_own(fields, known) == {
        "normalize": "none", "filter_groups": "zero_variance", "flipped": 0.2, "best": "silent",
    }  # fmt: skip


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, "1", None, True])
def test_another_schema_is_refused(schema: Any, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({**OLD, "schema": schema}))
    with pytest.raises(ValueError, match=f"record.json: schema .*; this version reads 1 to {SCHEMA}"):
        read_record(tmp_path)


def test_folders_of_trials_keep_their_names() -> None:
    """So that a tuning of before is found again."""
    assert upgrade.folder_word("algo.gae_lambda", 0.9) == ("lam", 0.9)
    assert upgrade.folder_word("algo.filter_groups", "zero_variance") == ("drop", "silent")
    assert upgrade.folder_word("lr", 1e-4) == ("lr", 1e-4)


def test_a_record_of_today_is_read_as_it_is() -> None:
    record = {**OLD, "schema": SCHEMA}
    assert upgrade.upgrade_record(record) is record


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("algo.lam", "algo.gae_lambda"),
        ("micro_tokens", "micro_batch_tokens"),
        ("lr", "lr"),
        ("algo.kl_coef", "algo.kl_coef"),
        ("task.steps", "task.steps"),
        ("steps", "steps"),
    ],
)
def test_dotted_names(old: str, new: str) -> None:
    assert upgrade.renamed(old) == new


def test_every_new_name_is_a_field_and_no_old_one_is() -> None:
    of_algos = {f.name for name in algos.names() for f in dataclasses.fields(algos.load(name))}
    fields = {"": {f.name for f in dataclasses.fields(RunConfig)}, "algo": of_algos}
    fields["schedule"] = {f.name for f in dataclasses.fields(Schedule)}
    for group, names in upgrade.RENAMED.items():
        assert set(names.values()) <= fields[group], group
        assert not set(names) & fields[group], group
    assert set(upgrade.TENSORS.values()) <= {f.name for f in dataclasses.fields(Rollouts)}


def test_a_checkpoint_of_before_is_read_with_todays_names() -> None:
    state = {"algo": {"lam": 0.95}, "phases": {"branch": {}}, "aside": 3, "source": {"turns": 1}, "rounds": 2}
    assert upgrade.upgrade_state(state, known=["gae_lambda"]) == {
        "algo": {"gae_lambda": 0.95},
        "phases": {CURVE_BRANCH: {}},
        "reward_model_prompts": 3,
        "reward_source": {"turns": 1},
        "rounds": 2,
    }
    assert upgrade.upgrade_tensors({"00001.mask_NT": 1, "source.0.attend_NS": 2, "00001.logp_NT": 3}) == {
        "00001.completion_mask_NT": 1,
        "reward_source.0.attention_mask_NS": 2,
        "00001.logp_NT": 3,
    }
