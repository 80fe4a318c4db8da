"""Commands, versions and sample completions."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.config.experiment import resolve_experiment
from harness.config.run_config import RunConfig
from harness.records.fingerprint import config_differences
from harness.reports.analysis.summary import Findings
from harness.reports.loading import RunRecord
from harness.reports.render.provenance import command, commands
from harness.studies.study import parse
from tests.harness.record_factory import (
    Type,
    typist,
)


def test_one_command_per_arm(findings: Findings) -> None:
    assert commands(findings.results) == [
        f"harness run --seed 0 --name seed0 --out results/my_study/{arm} --model some/model --budget completions=160"
        for arm in ("up_1", "up_2", "flat")
    ]


FIELDS: list[dict[str, Any]] = [
    {"algo": {"name": "grpo", "kl_coef": 0.1, "clip_high": 0.3}, "lr": 3e-4, "eval_fractions": [0, 1]},
    {"algo": "ppo", "group_size": 4, "budget": "flops=1e12", "max_new_tokens": 32},
    {"task": {"name": "gsm8k"}, "eval_limit": 5, "eval_tasks": ["piqa"]},
    {"task": {"numbers": [5, 6]}, "reward_weights": {"format": 0.2, "length": 0.0}, "reward_noise": 0.1},
    {"reward": "outcome-model", "reward_model": {"epochs": 2, "name": "some/where"}},
]


def leads_back(asked: RunConfig, typed: Type) -> None:
    run = RunRecord("a", 3, Path(), {"config": resolve_experiment(asked).as_dict()})
    again = typed(shlex.split(command(run, "s")))
    assert (
        config_differences(resolve_experiment(again).as_dict(), run.record["config"]) == [] and again.out == asked.out
    )


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Type:
    return typist(monkeypatch)


@pytest.mark.parametrize("fields", FIELDS)
def test_a_command_leads_to_the_configuration_of_its_record(fields: dict[str, Any], typed: Type) -> None:
    (cell,) = parse("s", {"arms": {"a": fields}, "seeds": [3]}).runs()
    leads_back(typed(cell.command("results")), typed)


def test_a_command_needs_no_file_of_settings(tmp_path: Path, typed: Type) -> None:
    (tmp_path / "c.toml").write_text("lr = 0.5\n[algo]\nname = 'ppo'\nkl_coef = 0.5\n[task]\nname = 'gsm8k'\n")
    words = ["harness", "run", "--config", str(tmp_path / "c.toml"), "--seed", "3", "--out", "results/s/a"]
    leads_back(typed(words), typed)
