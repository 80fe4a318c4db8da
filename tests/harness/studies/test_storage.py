"""A study in the folder of its records: written, read again, and read from what was written before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.studies.storage import store_study, stored_study
from harness.studies.study import Study, parse
from tests.harness.studies.test_study import refused

BASE = {"model": "nano", "budget": "completions=64", "algo": {"name": "ppo"}}


def make_study(**table: Any) -> Study:
    return parse("s", {"arms": {"a": {}, "b": {"lr": 0.1}}, "seeds": 2, "base": BASE, **table})


def test_a_study_is_stored_and_read_again(tmp_path: Path) -> None:
    study = make_study()
    assert stored_study(tmp_path / "s") is None
    store_study(tmp_path / "s", study)
    assert stored_study(tmp_path / "s") == study


def test_a_moved_study_has_its_folders_name(tmp_path: Path) -> None:
    store_study(tmp_path / "other", make_study())
    study = stored_study(tmp_path / "other")
    assert study is not None and study.name == "other"


def test_a_study_may_gain_arms_and_not_lose_them(tmp_path: Path) -> None:
    store_study(tmp_path / "s", make_study())
    more = make_study(arms={"a": {}, "b": {"lr": 0.1}, "c": {"lr": 0.2}}, seeds=3)
    store_study(tmp_path / "s", more)
    message = refused(lambda: store_study(tmp_path / "s", make_study()))
    assert message == f"{tmp_path / 's'} is a study with c as well; choose another --name"
    assert stored_study(tmp_path / "s") == more


OLD: dict[str, Any] = {
    "base": {**BASE, "measure_kl": True, "algo": {"name": "ppo", "kl_placement": "loss"}},
    "arms": {
        "a": {"algo": {"lam": 0.9}},
        "b": {"algo.lam": 0.8, "scale": {"micro_tokens": 512, "algo.average": "token"}},
    },
    "tune": {
        "grid": {"algo.lam_critic": [0.5, 0.6], "algo.drop": ["silent"]},
        "seeds": [7, 8],
        "base": {"rollout_rows": 8},
    },
    "profile": {"name": "p", "fields": {"micro_tokens": 64}, "algos": {"ppo": {"lam": 0.7}}},
}
NEW: dict[str, Any] = {
    "base": {**BASE, "log_reference_kl": True, "algo": {"name": "ppo", "kl_placement": "loss"}},
    "arms": {
        "a": {"algo": {"gae_lambda": 0.9}},
        "b": {"algo.gae_lambda": 0.8, "scale": {"micro_batch_tokens": 512, "algo.loss_aggregation": "token"}},
    },
    "tune": {
        "grid": {"algo.critic_gae_lambda": [0.5, 0.6], "algo.filter_groups": ["zero_variance"]},
        "seeds": [7, 8],
        "base": {"rollout_batch_size": 8},
    },
    "profile": {"name": "p", "fields": {"micro_batch_tokens": 64}, "algos": {"ppo": {"gae_lambda": 0.7}}},
}


def test_a_study_of_schema_1_has_todays_names(tmp_path: Path) -> None:
    """It was stored without a schema."""
    (tmp_path / "study.json").write_text(json.dumps({"name": "x", "seeds": [0, 1], **OLD}))
    assert stored_study(tmp_path) == parse(tmp_path.name, {"seeds": 2, **NEW})


def test_a_study_of_today_is_not_renamed(tmp_path: Path) -> None:
    """An algorithm of the user's own may have a field that another one had once."""
    (tmp_path / "study.json").write_text(json.dumps({"schema": 2, "name": "x", "seeds": [0, 1], **NEW, **{
        "arms": {"a": {"algo": {"name": "mine.py", "lam": 0.9}}}}}))  # fmt: skip
    study = stored_study(tmp_path)
    assert study is not None and study.arms["a"]["algo"] == {"name": "mine.py", "lam": 0.9}


@pytest.mark.parametrize(
    "text", ["{", "3", '{"schema": 9}', '{"schema": "1"}',
             "[]", '{"seeds": 2}', '{"arms": 3, "seeds": 2}', '{"arms": {"a": 3}, "seeds": 2}',
             '{"arms": {"a": {}}, "seeds": 2, "tune": {"grid": 3, "seeds": [1, 2]}}',
             '{"arms": {"a": {}}, "seeds": 2, "profile": {"name": "p", "fields": {}, "algos": {"a": 3}}}']
)  # fmt: skip
def test_a_broken_study_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(text)
    assert refused(lambda: stored_study(tmp_path)).startswith(f"{tmp_path / 'study.json'}: ")
