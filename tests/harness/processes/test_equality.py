"""The same run on one process and on several: the same completions, the same updates, the same spend.

In fp32 what is left is the order of sums.  In fp64 it is nothing that could be seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import harness
from tests.harness.processes.launching import (
    JOB,
    TINY,
    accelerate,
    apart,
    launched,
    metrics_of,
    record_of,
    scores_of,
    spend_of,
    torchrun,
    written,
)
from tests.helpers import close

ROUNDS = 10
ARMS: dict[str, dict[str, Any]] = {
    "grpo": {"algo": "grpo"},
    "ppo": {"algo": "ppo", "algo.critic": "separate", "algo.epochs": 2, "algo.minibatches": 2},
    "ppo_shared": {"algo": "ppo", "algo.critic": "shared"},
    "online_rft": {"algo": "online_rft"},
    "rft": {"algo": "rft", "algo.reward_threshold": 0.5},
}
OTHERS: dict[str, dict[str, Any]] = {
    "dpo": {"algo": "dpo", "algo.epochs": 3},
    "sft": {"algo": "sft", "prompts": 16, "max_new_tokens": 56},
    "learned": {
        "algo": "grpo",
        "algo.supervision": "process",
        "reward": "process-model",
        "reward_model.prompts": 3,
        "reward_model.samples": 2,
        "reward_model.continuations": 1,
        "budget": "completions=240",
        "iterations": 2,
        "reset_reference": True,
        "refresh_reward": True,
    },
    "tokens": {"algo": "grpo", "budget": "generated_tokens=700", "decay": "linear", "eval_samples": 2},
}


def job(name: str, model: Path | str, out: Path, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A run of ten rounds."""
    given = {"eval_limit": 5, "checkpoint_every": 4, "budget": "completions=160", **settings, **more}
    algo, budget = given.pop("algo"), given.pop("budget")
    return {"algo": algo, "model": str(model), "budget": budget, "name": name, "out": str(out), "settings": given}


def same(one: Path, two: Path, tolerance: float) -> None:
    """Completions, verdicts and spend are equal; the numbers of each round and the weights within the tolerance."""
    assert record_of(two)["status"] == "finished"
    assert (one / "samples.jsonl").read_text() == (two / "samples.jsonl").read_text()
    assert scores_of(one) == scores_of(two)
    assert spend_of(one) == spend_of(two)
    mine, theirs = metrics_of(one), metrics_of(two)
    assert [m.keys() for m in mine] == [m.keys() for m in theirs]
    for a, b in zip(mine, theirs, strict=True):
        for name in a:
            close(b[name], a[name], 100 * tolerance, 100 * tolerance)
    assert apart(one, two) < tolerance


def test_two_processes_are_one(taught: Path, tmp_path: Path) -> None:
    """Every kind of loop, in fp64: there nothing but a mistake can make a difference."""
    settings = {name: {**TINY, "lr": 1e-4, **arm, "dtype": "float64"} for name, arm in (ARMS | OTHERS).items()}
    jobs = [job(name, taught, tmp_path / "two", s) for name, s in settings.items()]
    done = launched(accelerate(2, JOB, written(tmp_path, jobs)))
    assert done.returncode == 0, done.stderr
    torch.set_num_threads(1)
    for name, s in settings.items():
        harness.run(**job(name, taught, tmp_path / "one", s))
        same(tmp_path / "one" / name, tmp_path / "two" / name, 1e-9)
    record = record_of(tmp_path / "two" / "grpo")
    assert record["environment"]["processes"] == {
        "count": 2,
        "hosts": 1,
        "backend": "cpu:gloo,cuda:gloo",
        "threads": [1, 1],
    }
    assert "processes" not in record_of(tmp_path / "one" / "grpo")["environment"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_ten_rounds_on_nano(count: int, tmp_path: Path) -> None:
    """In fp32, as runs are: within 1e-6 of one process after ten rounds."""
    few = {"prompts": 8, "group_size": 8, "budget": "completions=640", "eval_limit": 10}
    one = [job(name, "nano", tmp_path / "one", {**arm, **few}) for name, arm in ARMS.items()]
    many = [job(name, "nano", tmp_path / "many", {**arm, **few}) for name, arm in ARMS.items()]
    done = launched(torchrun(count, JOB, written(tmp_path, many)), timeout=1500)
    assert done.returncode == 0, done.stderr
    torch.set_num_threads(1)
    for given in one:
        harness.run(**given)
        same(tmp_path / "one" / given["name"], tmp_path / "many" / given["name"], 1e-6)
