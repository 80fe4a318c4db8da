"""The check at the first update speaks of what was read again, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.run_config import resolve
from harness.training.setup import PreparedRun, prepare
from tests.harness.tiny_models import SETTINGS

FIRST = "first_update_max_abs_logratio"
ROUND = "sampling/max_abs_logratio"

REWARD = """
calls = []

def late(problem, completion, verdict):  # every group of the first round has one reward
    calls.append(problem.id)
    return float(len(calls) > 16 and len(completion) % 2)

def never(problem, completion, verdict):
    return 0.0
"""


def prepared(model: Path, folder: Path, *settings: str) -> PreparedRun:
    file = folder / "reward.py"
    file.write_text(REWARD)
    flags: dict[str, Any] = {"model": str(model), "out": str(folder / "out"), "device": "cpu"}
    flags["budget"] = "completions=48"
    fixed = ["prompts=4", "group_size=4", "max_new_tokens=8", *SETTINGS]
    return prepare(resolve(flags, [*fixed, *(s.replace("REWARD", str(file)) for s in settings)], None))


def rounds_of(run: PreparedRun) -> list[dict[str, float]]:
    rounds = []
    while (done := run.loop.train_round()) is not None:
        rounds.append(done.metrics(run.trainer.budget, run.trainer.profiler))
    return rounds


@pytest.mark.parametrize(
    ("settings", "read"),  # whether anything of each round is read again
    [
        (["algo=grpo", "algo.kl_coef=0", "reward=REWARD:never"], [False, False, False]),
        (["algo=grpo", "algo.kl_coef=0", "reward=REWARD:late"], [False, True, True]),
        (["algo=online_rft", "reward=REWARD:never"], [False, False, False]),
        (["algo=grpo", "algo.kl_coef=0.04", "reward=REWARD:never"], [True, True, True]),
    ],
)
def test_nothing_read_is_nothing_checked(taught: Path, tmp_path: Path, settings: list[str], read: list[bool]) -> None:
    run = prepared(taught, tmp_path, *settings)
    rounds = rounds_of(run)
    assert [ROUND in metrics for metrics in rounds] == read
    assert (FIRST in run.trainer.checks) is any(read)
    if any(read):
        assert 0 < run.trainer.checks[FIRST] < 1e-4
