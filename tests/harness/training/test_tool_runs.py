"""Whole runs whose policy calls a tool: every algorithm, the ledger, the metrics, and a run that was cut off."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.models.loading import save_model
from harness.training.trainer import Trainer
from tests.harness.rollout.tools.callers import caller, speaker
from tests.harness.training.test_resume import metrics_of, record_of, same

TASK = '''
from evals.tasks import EvalSet, Problem, Task
from evals.verification.transcript import turns_of
from evals.verification.verifier import Verdict


class Even(Task):
    """Right where the policy's own words have an even number of letters."""

    name = "even"

    def train(self, seed):
        return [Problem(str(i), f"q{i}", "even") for i in range(16)]

    def eval_sets(self, limit=None):
        return [EvalSet("even", "in", [Problem(f"t{i}", f"p{i}", "even") for i in range(4)], temperature=0.0)]

    def verify(self, problem, completion, ended):
        outcome = "correct" if len(completion) % 2 == 0 else "wrong"
        return Verdict(outcome, outcome, "even")

    def measures(self, problem, completion, verdict):
        return {"answers": float(len(turns_of(completion)))}
'''
TOOL = """
class Echo:
    name = "echo"

    def call(self, text):
        return text + text
"""
ARMS = {
    "grpo": ["algo=grpo", "algo.kl_coef=0.04"],
    "ppo": ["algo=ppo", "algo.critic_warmup=1", "algo.kl_coef=0.04"],
    "ppo_shared": ["algo=ppo", "algo.critic=shared", "algo.epochs=2", "algo.minibatches=2"],
    "online_rft": ["algo=online_rft"],
    "rft": ["algo=rft", "algo.distinct=false"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "even.py").write_text(TASK)
    (folder / "echo.py").write_text(TOOL)
    model = caller()
    model.generation_config.eos_token_id = [1, *range(150, 156)]
    save_model(model, speaker(), folder / "model")
    return folder


def run(place: Path, arm: str, name: str, *more: str) -> int:
    settings = [*ARMS[arm], "prompts=4", "group_size=4", "max_new_tokens=16", "lr=1e-3", "checkpoint_every=1"]
    settings += ["tool.calls=2", "tool.result_tokens=7"]
    words = ["run", "--model", str(place / "model"), "--task", str(place / "even.py"), "--out", str(place)]
    words += ["--tool", f"{place}/echo.py:Echo", "--name", name, "--budget", "completions=64", "--quiet"]
    sys.argv = ["harness", *words, *(w for s in settings for w in ("--set", s)), *more]
    with pytest.raises(SystemExit) as stop:
        main.main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    "arm", ["grpo", "ppo_shared", "rft", *(pytest.param(a, marks=pytest.mark.slow) for a in ("ppo", "online_rft"))]
)
def test_a_run_with_a_tool_and_one_that_was_cut_off(place: Path, monkeypatch: pytest.MonkeyPatch, arm: str) -> None:
    """Every algorithm; the ledger and the metrics tell the policy's tokens from answers; resumed to the same bits."""
    assert run(place, arm, f"{arm}-whole") == 0
    record, rounds = record_of(place / f"{arm}-whole"), metrics_of(place / f"{arm}-whole")
    spend, sampled = record["spend"], [m for m in rounds if "reward" in m]
    assert spend["tool_calls"] > 0 and spend["tool_tokens"] > 2 * spend["tool_calls"]
    lengths = [16 * m["completions/mean_length"] for m in sampled]
    assert round(sum(lengths)) == spend["generated_tokens"] <= 16 * spend["completions"]
    assert round(sum(16 * m["tools/calls"] for m in sampled)) == spend["tool_calls"]
    assert all(m["task/answers"] == m["tools/calls"] and m["tools/failed"] == 0 for m in sampled)
    assert record["checks"]["first_update_max_abs_logratio"] < 1e-3
    assert record["config"]["tool"]["calls"] == 2 and len(record["config"]["tools"]) == 1
    assert {row["metric"] for row in record["evals"]} >= {"exact_match", "answers"}
    turns = [json.loads(line) for line in (place / f"{arm}-whole" / "samples.jsonl").read_text().splitlines()]
    assert "turns" in json.dumps(turns)

    explore = Trainer.collect_rollouts

    def explode(self: Trainer, *args: Any) -> Any:
        if self.rounds == 2:
            raise RuntimeError("the power went")
        return explore(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", explode)
        assert run(place, arm, f"{arm}-cut") == 1
    assert run(place, arm, f"{arm}-cut", "--resume") == 0
    same(place / f"{arm}-cut", place / f"{arm}-whole", None)


def test_tools_need_their_room_in_the_context(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "grpo", "room", "--set", "tool.calls=20") == 2
    assert "with 140 for tools' answers, do not fit the model's context of 128" in capsys.readouterr().err
