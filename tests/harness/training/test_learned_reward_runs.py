"""Whole runs whose rewards are learned, or given to steps; iterations; KL measured and not used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.cli import main
from harness.cli.console.progress import Progress
from harness.training.run import reward_model_line
from tests.harness.tiny_models import SETTINGS
from tests.harness.training.test_run import Done, go
from tests.helpers import close

SMALL = ["reward_model.prompts=4", "reward_model.samples=4", "reward_model.epochs=2", "reward_model.batch=8"]
PROCESS = ["algo.supervision=process", "algo.kl_coef=0"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learned")


@pytest.fixture(scope="module")
def plain(taught: Path, out: Path) -> Done:
    return go(taught, out, "plain", "algo.kl_coef=0", budget="prompts=16")


@pytest.fixture(scope="module")
def learned(taught: Path, out: Path) -> Done:
    return go(taught, out, "learned", *SMALL, "algo.kl_coef=0", budget="prompts=20", reward="outcome-model")


# --- a reward model in a run ------------------------------------------------------------------------------------


def test_its_training_is_charged_metered_and_written_down(learned: Done, plain: Done) -> None:
    (training,) = learned.record["reward_model"]
    assert training["spend"]["prompts"] == 4 and training["spend"]["completions"] == 16
    assert training["spend"]["updates"] == 0 and training["updates"] == 2 * 2
    assert training["held_out"]["outcome"]["n"] == 4 and training["completions"] == 12
    spend, free = learned.record["spend"], plain.record["spend"]
    assert spend["prompts"] == 20 and spend["updates"] == free["updates"] == 4
    assert spend["completions"] == 80 and learned.lines[0]["spend/completions"] == 16 + 16
    assert training["fraction"] == 0 and spend["trained_tokens"] > free["trained_tokens"]
    assert learned.record["phases"]["reward_model"]["seconds"] > 0
    charged = sum(learned.record["phases"][p]["seconds"] for p in ("rollout", "reward", "annotate", "update"))
    assert spend["device_seconds"] > charged
    assert "reward_model" not in plain.record and "reward_model" not in plain.record["phases"]


def test_the_user_is_told_how_good_it_is_when_it_is_trained(
    taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr(Progress, "message", lambda self, text: said.append(text))
    budget = {"budget": "prompts=28", "reward": "outcome-model"}
    done = go(taught, out, "told", *SMALL, "iterations=2", "refresh_reward=true", **budget)
    trained = done.record["reward_model"]
    assert len(trained) == 2 and [line for line in said if line.startswith("reward model")] == [
        *map(reward_model_line, trained)
    ]


def test_what_is_said_of_a_training() -> None:
    known, unknown = {"auc": 0.716, "accuracy": 0.847, "n": 256}, {"auc": None, "accuracy": 0.5, "n": 1200}
    start = "reward model, on held-out problems: "
    assert reward_model_line({"held_out": {"outcome": known, "steps": unknown}}) == (
        f"{start}outcome: AUC 0.72, accuracy 85% of 256; steps: AUC -, accuracy 50% of 1,200"
    )
    assert reward_model_line({"held_out": {}}) == f"{start}the verifier decided none"
    skipped = {"fraction": 0.5, "skipped": "no prompts left for it"}
    assert reward_model_line(skipped) == "reward model: not trained on at 50% of the budget: no prompts left for it"


def test_the_flops_are_those_of_the_formula(learned: Done, plain: Done) -> None:
    """As many as the plain run's for the same lengths, and a reading of every sequence by the reward model."""
    trainer = learned.run.trainer
    model, judge = trainer.flops.policy, trainer.flops.reward_model
    assert judge is not None and trainer.flops.critic is None and trainer.flops.reference is None
    head = trainer.reward_source.modules()["reward_model"].score.weight.numel()
    vocabulary = trainer.policy.lm.head.weight.numel()
    close(judge.matrix, model.matrix - 2 * vocabulary + 2 * head)
    assert judge.attention == model.attention
    close(trainer.flops.explore([3], [[2, 4]]) - plain.run.trainer.flops.explore([3], [[2, 4]]), judge.read([5, 7]))


def test_its_bytes_are_a_part_of_memory(learned: Done, plain: Done) -> None:
    part = learned.record["memory"]["parts"]["reward_model"]
    parameters = learned.run.trainer.reward_source.modules()["reward_model"].parameters()
    assert part == {"bytes": sum(p.nbytes for p in parameters), "how": "measured"}
    assert "reward_model" not in plain.record["memory"]["parts"]


def test_prompts_and_noise_are_those_of_an_arm_without_one(learned: Done, plain: Done) -> None:
    """The first round sees the same completions, whoever rates them."""
    names = ("accuracy/strict", "completions/mean_length", "entropy")
    for name in names[:2]:
        assert learned.lines[0][name] == plain.lines[0][name]


def test_each_round_says_how_far_reward_and_verdict_agree(learned: Done) -> None:
    for line in learned.lines:
        assert 0 <= line["reward_model/accuracy"] <= 1 and 0 <= line["reward"] <= 1


def test_what_was_trained_loads_by_name_and_gives_the_rewards_of_another_run(
    learned: Done, taught: Path, out: Path
) -> None:
    folder = learned.folder / "checkpoints" / "reward_model"
    theirs = AutoModelForSequenceClassification.from_pretrained(folder)
    mine = learned.run.trainer.reward_source.modules()["reward_model"]
    assert torch.equal(theirs.score.weight, mine.score.weight)
    again = go(
        taught,
        out,
        "again",
        f"reward_model.name={folder}",
        "algo.kl_coef=0",
        budget="prompts=16",
        reward="outcome-model",
    )
    close([m["reward"] for m in again.lines], [m["reward"] for m in learned.lines], rtol=1e-5, atol=1e-6)
    assert "reward_model" not in again.record, "nothing was trained, so nothing is told"


def test_rejection_sampling_reads_a_learned_reward_too(taught: Path, out: Path) -> None:
    done = go(
        taught,
        out,
        "rft",
        *SMALL,
        "algo.reward_threshold=0.2",
        budget="prompts=12",
        algo_name="rft",
        reward="outcome-model",
    )
    assert done.record["status"] == "finished" and done.record["split"]["sampling"]["prompts"] == 12
    assert done.record["split"]["kept_completions"] > 0


# --- rewards of steps -------------------------------------------------------------------------------------------


def test_steps_that_the_checker_finds_and_steps_that_a_model_rates(taught: Path, out: Path) -> None:
    ruled = go(taught, out, "ruled", *PROCESS, budget="prompts=8", reward="process-rule")
    rated = go(
        taught,
        out,
        "rated",
        *PROCESS,
        *SMALL,
        "reward_model.continuations=2",
        budget="prompts=12",
        reward="process-model",
    )
    for done in (ruled, rated):
        assert all(m["steps"] >= 1 for m in done.lines), "the final answer is a step"
        assert 0 <= done.lines[0]["frac_step_reward_zero_std"] <= 1
    assert ruled.lines[0]["completions/mean_length"] == rated.lines[0]["completions/mean_length"]
    assert ruled.lines[0]["steps"] == rated.lines[0]["steps"], "the same steps, whoever rates them"
    (training,) = rated.record["reward_model"]
    assert training["places"] >= training["completions"] and training["spend"]["prompts"] == 4


# --- iterations -------------------------------------------------------------------------------------------------


def test_at_an_iteration_the_reference_is_the_policy(taught: Path, out: Path) -> None:
    done = go(taught, out, "iterated", "iterations=2", "reset_reference=true", "lr=3e-3", budget="prompts=24")
    kl = [m["kl/reverse"] for m in done.lines]
    assert len(kl) == 6 and max(abs(kl[0]), abs(kl[3])) < 1e-5, "sampler and scorer differ by rounding alone"
    assert min(abs(kl[i]) for i in (1, 2, 4, 5)) > 1e-3
    once = go(taught, out, "once", "lr=3e-3", budget="prompts=24")
    assert [m["kl/reverse"] for m in once.lines[:3]] == kl[:3] and abs(once.lines[3]["kl/reverse"]) > 1e-3


def test_boundaries_that_one_round_crosses_renew_once_and_never_beyond_the_budget(taught: Path, out: Path) -> None:
    words = [*SMALL, "iterations=4", "refresh_reward=true", "algo.kl_coef=0"]
    # 4 prompts to learn from, a round of 4: half of 16 is spent, two boundaries are crossed, and one refresh follows
    crossed = go(taught, out, "crossed", *words, budget="prompts=16", reward="outcome-model")
    assert [t["fraction"] for t in crossed.record["reward_model"]] == [0.0, 0.5]
    # of 12, what is left after the same pays for another refresh and then for nothing: the round is preferred
    spare = go(taught, out, "spare", *words, budget="prompts=12", reward="outcome-model")
    assert spare.record["reward_model"][1] == {"fraction": 8 / 12, "skipped": "no prompts left for it"}
    assert len(spare.lines) == len(crossed.lines) == 2
    assert (spare.record["spend"]["prompts"], crossed.record["spend"]["prompts"]) == (12, 16)


def test_at_an_iteration_the_reward_model_learns_on_with_a_share_of_history(taught: Path, out: Path) -> None:
    words = [*SMALL, "iterations=2", "refresh_reward=true", "reward_model.replay=0.25", "algo.kl_coef=0"]
    done = go(taught, out, "refreshed", *words, budget="prompts=24", reward="outcome-model")
    first, second = done.record["reward_model"]
    assert (first["history"], second["history"]) == (0, 4) and second["completions"] == 12 + 4
    assert first["fraction"] == 0 and second["fraction"] >= 0.5
    assert done.record["spend"]["prompts"] == 24


# --- KL that is measured and not used ---------------------------------------------------------------------------


def test_measuring_kl_changes_nothing_else(plain: Done, taught: Path, out: Path) -> None:
    done = go(taught, out, "measured", "algo.kl_coef=0", "log_reference_kl=true", budget="prompts=16")
    extra = {"kl/reverse"}
    for mine, theirs in zip(done.metrics, plain.metrics, strict=True):
        assert {k: v for k, v in mine.items() if k not in extra} == theirs
    assert abs(done.lines[0]["kl/reverse"]) < 1e-5 and "kl/reverse" not in plain.lines[0]
    assert done.record["spend"]["flops"] == plain.record["spend"]["flops"], "measured, not charged"


# --- what is wrong, in one line ---------------------------------------------------------------------------------

WRONG: dict[str, tuple[list[str], str]] = {
    "steps of a task without": (
        ["--task", "gsm8k", "--reward", "process-rule"],
        "process-rule needs a task that checks steps, and 'harness_gsm8k' checks none",
    ),
    "process supervision of an outcome": (
        ["--set", "algo.supervision=process"],
        "this algorithm needs rewards of steps, which rule has not; process-rule or process-model",
    ),
    "unknown": (["--reward", "oracle"], "'oracle' is none of rule, process-rule, outcome-model, process-model"),
    "an unknown field": (
        ["--reward", "outcome-model", "--set", "reward_model.size=3"],
        "reward_model.size: unknown field; valid: reward_model.name",
    ),
    "a model that is none": (
        ["--reward", "outcome-model", "--set", "reward_model.name={taught}"],
        "has no head of its own (score.weight): it is not a reward model",
    ),
    "a refresh without a model": (
        ["--set", "iterations=2", "--set", "refresh_reward=true"],
        "refresh_reward: reward=rule",
    ),
    "a reset without a reference": (
        ["--set", "iterations=2", "--set", "reset_reference=true", "--set", "algo.kl_coef=0"],
        "reset_reference: this arm has no reference policy",
    ),
    "one iteration": (["--set", "reset_reference=true"], "act between iterations: ask for 2 or more"),
    "checked labels of a task without": (
        ["--task", "gsm8k", "--reward", "process-model", "--set", "reward_model.labels=rule"],
        "process-model with reward_model.labels=rule needs a task that checks steps",
    ),
    "problems twice": (
        ["--reward", "outcome-model", "--set", "reward_model.prompts=17", "--budget", "generated_tokens=9999"],
        "reward_model.prompts: its 17 problems must differ, and the task has 16 to train on",
    ),
    "updates for some": (
        ["--algo", "rft", "--reward", "outcome-model", "--budget", "updates=20"],
        "an arm that samples once would pay for its reward model and others would not",
    ),
    "KL of a stream": (
        ["--algo", "rft", "--set", "log_reference_kl=true"],
        "log_reference_kl: KL is estimated from completions of the live policy",
    ),
    "groups by outcome": (
        ["--reward", "process-rule", "--set", "algo.supervision=process", "--set", "algo.filter_groups=zero_variance"],
        "algo.filter_groups: zero_variance reads outcomes, and supervision=process steps",
    ),
    "more than there is": (
        ["--reward", "outcome-model", "--budget", "completions=500"],
        "reward_model.prompts: it would sample 1,024 completions, and the budget is 500",
    ),
    "a reward for what is written": (["--algo", "sft", "--reward", "outcome-model"], "would be trained for nothing"),
    "iterations of a stream": (
        ["--algo", "rft", "--set", "iterations=2"],
        "only an algorithm that samples from the live policy",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = WRONG[case]
    given = ["harness", "run", "--model", str(taught), "--out", str(tmp_path / "out")]
    given += [word.format(taught=taught) for word in words]
    if "gsm8k" not in words:
        given += [word for s in SETTINGS for word in ("--set", s)]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as stop:
        main.main()
    said = capsys.readouterr().err
    assert stop.value.code == 2 and expected in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_nothing_reads_is_said(taught: Path, out: Path) -> None:
    done = go(
        taught, out, "unread", "reward_model.lr=1e-3", "algo.kl_coef=0", budget="prompts=4", reward="process-rule"
    )
    assert done.record["notices"][-2:] == [
        "reward_model.lr has no effect: reward=process-rule is not learned",
        "grpo reads the last step's reward alone: process-rule rates others in vain",
    ]


def test_the_record_keeps_the_models_fields(learned: Done, plain: Done) -> None:
    config: dict[str, Any] = json.loads((learned.folder / "record.json").read_text())["config"]
    assert config["reward_model"]["prompts"] == 4 and config["reward_model"]["labels"] == "continuations"
    assert json.loads((plain.folder / "record.json").read_text())["config"]["reward_model"] == {}
