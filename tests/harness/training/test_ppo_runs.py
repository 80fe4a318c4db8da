"""Whole runs of PPO and of online RFT: what they leave behind, what the critic costs, and what its warm-up moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from algos import Rollouts
from tests.harness.training.test_run import EVAL, PART, RECORD, UNITS, Done, check_type, go, load, spied
from tests.helpers import close

CRITICS = ["shared", "separate"]
END = "eval_fractions=1"
LAYERS, HEADS, SIZE, HIDDEN, INNER = 2, 2, 32, 64, 128  # of `taught`


def ppo(model: Path, out: Path, name: str, *settings: str, **flags: Any) -> Done:
    return go(model, out, name, *settings, algo_name="ppo", **{"eval_limit": 1, **flags})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ppo")


@pytest.fixture(scope="module")
def grpo(taught: Path, out: Path) -> Done:
    return go(taught, out, "grpo", budget="completions=48", eval_limit=2)


@pytest.fixture(scope="module")
def base(taught: Path, out: Path) -> Done:
    """Three rounds of 4 x 4 with PPO as it is: a critic of its own, which has the first round to itself."""
    return ppo(taught, out, "base", budget="completions=48", eval_limit=2)


def keys(tree: Any) -> Any:
    """The names in a record, to the last dictionary."""
    return {name: keys(inner) for name, inner in tree.items()} if isinstance(tree, dict) else None


def record_of(done: Done) -> dict[str, Any]:
    record = json.loads((done.folder / "record.json").read_text())
    del record["config"], record["config_sha256"]
    return record


def parts_of(done: Done) -> dict[str, int]:
    return {name: part["bytes"] for name, part in done.record["memory"]["parts"].items()}


def start_of(taught: Path) -> dict[str, torch.Tensor]:
    return load(taught).state_dict()


def unmoved(done: Done, taught: Path) -> bool:
    return all(torch.equal(done.weights[name], x) for name, x in start_of(taught).items())


# ---------------------------------------------------------------- the record


def test_the_record_has_the_keys_of_grpos_and_the_critics_memory(base: Done, grpo: Done) -> None:
    mine, theirs = keys(record_of(base)), keys(record_of(grpo))
    assert mine["memory"]["parts"].pop("critic") == {"bytes": None, "how": None}
    assert mine == theirs
    written = json.loads((base.folder / "record.json").read_text())
    check_type(written, {**RECORD, "memory": {"parts": {"critic": PART, "reference": PART}}}, "record")
    for row in written["evals"]:
        check_type(row, EVAL, "evals")
    assert (written["status"], written["algo"]) == ("finished", "ppo")
    assert [(r["fraction"], r["task"]) for r in written["evals"]] == [
        (r["fraction"], r["task"]) for r in grpo.record["evals"]
    ]


def test_a_round_says_what_grpos_says_and_how_good_the_critic_is(base: Done, grpo: Done) -> None:
    critics = {"value_loss", "critic/grad_norm", "critic/learning_rate", "explained_variance"}
    critics |= {f"explained_variance/{part}" for part in ("prompt", "part1of4", "part2of4")}
    for mine, theirs in zip(base.lines[1:], grpo.lines[1:], strict=True):
        assert set(theirs) | critics <= set(mine)
    assert base.lines[0]["explained_variance"] == 0.0  # its values are all 0 yet, which explains nothing
    assert base.lines[-1]["explained_variance"] != 0.0
    assert all("kl_coef" not in line for line in base.lines)


def test_memory_by_hand(base: Done, taught: Path) -> None:
    """The critic is the model without its output head, which `taught` shares with its embedding, and 64 + 1 numbers."""
    model, parts = load(taught), parts_of(base)
    assert model.config.tie_word_embeddings
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert parts["policy"] == parts["reference"] == weights
    assert parts["critic"] == weights + 4 * (HIDDEN + 1)
    assert parts["gradients"] == parts["policy"] + parts["critic"]
    assert parts["optimizer"] == 2 * parts["gradients"] + 4 * (2 * len(list(model.parameters())) + 2)


@pytest.mark.parametrize("critic", CRITICS)
def test_sampler_and_trainer_agree_at_the_first_update(taught: Path, out: Path, critic: str) -> None:
    settings = (f"algo.critic={critic}", "algo.critic_warmup=0", END)
    done = ppo(taught, out, f"agree-{critic}", *settings, budget="completions=32")
    assert 0 <= done.record["checks"]["first_update_max_abs_logratio"] < 1e-4
    assert all(line["sampling/max_abs_logratio"] < 1e-4 for line in done.lines)
    assert not unmoved(done, taught) and all(line["grad_norm"] > 0 for line in done.lines)


def test_the_first_round_is_the_one_that_grpo_has(base: Done, grpo: Done) -> None:
    for name in ("reward", "completions/mean_length", "entropy", "accuracy/strict"):
        close(base.lines[0][name], grpo.lines[0][name], rtol=1e-5)


def test_a_group_may_be_one_completion(taught: Path, out: Path) -> None:
    settings = ("group_size=1", "prompts=8", "algo.critic_warmup=0", END)
    done = ppo(taught, out, "one", *settings, budget="completions=16")
    assert done.record["spend"]["prompts"] == done.record["spend"]["completions"] == 16
    assert len(done.lines) == 2 and not unmoved(done, taught)
    assert all(line["advantage/abs_mean"] > 0 and line["frac_reward_zero_std"] == 1.0 for line in done.lines)


# ---------------------------------------------------------------- the critic's warm-up


@pytest.mark.parametrize("critic", CRITICS)
def test_in_its_warm_up_the_critic_learns_and_nothing_else(taught: Path, out: Path, critic: str) -> None:
    """Two rounds: the policy has the start model's bits, and no moments; the critic's head has moved."""
    settings = (f"algo.critic={critic}", "algo.critic_warmup=2", END)
    done = ppo(taught, out, f"warm-{critic}", *settings, budget="completions=32")
    policy = done.run.trainer.policy
    assert len(done.lines) == 2 and unmoved(done, taught)
    assert policy.critic is not None and bool(policy.critic.head.weight.any())
    if policy.critic.trunk is not None:
        start = load(taught).base_model.state_dict()
        assert any(not torch.equal(start[name], x) for name, x in policy.critic.trunk.state_dict().items())
    parts = parts_of(done)
    assert parts["gradients"] == parts["critic"]
    assert parts["optimizer"] == 2 * parts["critic"] + 4 * len(list(policy.critic.parameters()))
    assert all("grad_norm" not in line and line["critic/grad_norm"] > 0 for line in done.lines)
    assert done.record["spend"]["updates"] == 2


def test_after_the_warm_up_the_policy_begins_its_own(taught: Path, out: Path) -> None:
    """Two rounds of the critic alone, then both, with a rate that rises over four updates for each of them."""
    settings = ("algo.critic_warmup=2", "warmup=4", "lr=0.001", END)
    done = ppo(taught, out, "after", *settings, budget="completions=80")
    assert [("grad_norm" in line, "critic/grad_norm" in line) for line in done.lines] == [
        (False, True),
        (False, True),
        *[(True, True)] * 3,
    ]
    close([line["learning_rate"] for line in done.lines[2:]], [0.00025, 0.0005, 0.00075])
    close([line["critic/learning_rate"] for line in done.lines], [0.0025, 0.005, 0.0075, 0.01, 0.01])
    for line in done.lines[:3]:
        close(line["kl"], 0.0, rtol=0, atol=1e-6)  # the third round was sampled before the policy's first step
    assert abs(done.lines[3]["kl"]) > 1e-6 and not unmoved(done, taught)


@pytest.mark.parametrize("lr", [0.001, 0.0004])
def test_the_value_model_may_have_a_rate_of_its_own(taught: Path, out: Path, lr: float) -> None:
    settings = ("algo.value_lr=0.003", "algo.critic_warmup=1", f"lr={lr}", END)
    done = ppo(taught, out, f"own-{lr}", *settings, budget="completions=32")
    close([line["critic/learning_rate"] for line in done.lines], [0.003, 0.003])
    close(done.lines[1]["learning_rate"], lr)


def test_without_a_value_model_there_is_none_in_memory_or_in_the_ledger(taught: Path, out: Path, grpo: Done) -> None:
    done = ppo(taught, out, "none", "algo.critic=none", "algo.kl_placement=loss", budget="completions=48", eval_limit=2)
    assert parts_of(done) == parts_of(grpo) and keys(record_of(done)) == keys(record_of(grpo))
    assert not any("value" in name or "critic" in name for line in done.lines for name in line)
    assert not unmoved(done, taught) and done.lines[0]["grad_norm"] > 0  # from the first round on


# ---------------------------------------------------------------- the ledger


def by_hand(taught: Path, seen: list[tuple[Rollouts, Any]], critic: str, warm: bool) -> float:
    """Token by token: `token` of the policy and `judge` of the critic, at each context."""
    vocabulary = len(AutoTokenizer.from_pretrained(taught))
    trunk = LAYERS * (4 * HIDDEN**2 + 3 * HIDDEN * INNER + 2 * HIDDEN) + HIDDEN
    attention = 4 * LAYERS * HEADS * SIZE

    def token(context: int) -> int:
        return 2 * (trunk + vocabulary * HIDDEN) + attention * context

    def judge(context: int) -> int:
        head = 2 * (HIDDEN + 1)
        return head + (2 * trunk + attention * context if critic == "separate" else 0)

    total = 0
    for r, _ in seen:
        for i in range(len(r.group_N)):
            c = int(r.completion_mask_NT[i].sum())
            p = int(r.attention_mask_NS[i].sum()) - c
            prompt = sum(token(t) for t in range(1, p + 1))
            completion = sum(token(t) for t in range(p + 1, p + c + 1))
            judged = sum(judge(t) for t in range(1, p + c + 1))
            total += prompt * (i % 4 == 0) + completion  # rollout: the prompt once a group
            total += prompt + completion + judged  # annotation: the reference and the critic, forward
            total += (1 if warm else 3) * (prompt + completion) + 3 * judged  # the update
    return float(total)


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("warm", [True, False])
def test_the_ledger_of_a_round(
    taught: Path, out: Path, critic: str, warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of the warm-up is charged like any other; its policy is read once instead of three times."""
    seen = spied(monkeypatch)
    settings = (f"algo.critic={critic}", f"algo.critic_warmup={int(warm)}", END)
    done = ppo(taught, out, f"ledger-{critic}-{warm}", *settings, budget="completions=16")
    ((r, _),) = seen
    spend, phases, tokens = done.record["spend"], done.record["phases"], int(r.completion_mask_NT.sum())
    assert set(spend) == set(UNITS)
    counts = {"prompts": 4, "completions": 16, "verifier_calls": 16, "updates": 1}
    assert all(spend[unit] == count for unit, count in counts.items())
    assert spend["generated_tokens"] == spend["trained_tokens"] == tokens
    assert phases["update"]["tokens"] == tokens
    read = 2 if critic == "separate" else 1  # a shared trunk's values come with the sampling
    assert phases["annotate"]["tokens"] == read * int(r.attention_mask_NS.sum())
    close(spend["flops"], by_hand(taught, seen, critic, warm))


# ---------------------------------------------------------------- the KL controller


def test_the_kl_coefficient_follows_its_target(taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1909.08593 §2.2: beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon), of the KL of whole completions."""
    seen = spied(monkeypatch)
    settings = ("algo.kl_target=0.05", "algo.kl_horizon=100", "algo.kl_coef=0.3", "algo.critic_warmup=0", "lr=0.01")
    done = ppo(taught, out, "controller", *settings, END, budget="completions=80")
    coef, moves = 0.3, set()
    for (r, _), line in zip(seen, done.lines, strict=True):
        close(line["kl_coef"], coef, rtol=1e-6)
        assert r.ref_logp_NT is not None and r.valid_N is not None and bool(r.valid_N.all())
        nats = [
            sum(float(a - b) for a, b, m in zip(*row, strict=True) if m)
            for row in zip(r.logp_NT.double(), r.ref_logp_NT.double(), r.completion_mask_NT, strict=True)
        ]
        error = min(max(sum(nats) / 16 / 0.05 - 1, -0.2), 0.2)
        coef *= 1 + error * 16 / 100
        moves.add(error > 0)
    assert moves == {True, False}, "it went one way alone"
    close(done.run.trainer.algo.kl_coef, coef, rtol=1e-6)  # type: ignore[attr-defined]
    assert done.record["config"]["algo"]["kl_coef"] == 0.3  # what was asked for


# ---------------------------------------------------------------- online RFT


def test_online_rft_needs_neither_critic_nor_reference(taught: Path, out: Path, grpo: Done) -> None:
    done = go(taught, out, "online", algo_name="online_rft", budget="completions=48", eval_limit=2)
    mine, theirs = keys(record_of(done)), keys(record_of(grpo))
    del theirs["memory"]["parts"]["reference"]
    assert mine == theirs and "critic" not in parts_of(done)
    check_type(done.record, {**RECORD, "memory": {"parts": {"optimizer": PART}}}, "record")
    assert done.record["phases"]["annotate"]["tokens"] == 0
    assert done.record["checks"]["first_update_max_abs_logratio"] < 1e-4
    weights = 4 * sum(p.numel() for p in load(taught).parameters())
    assert parts_of(done)["gradients"] == parts_of(done)["policy"] == weights
    for line in done.lines:
        close(line["positives"], line["reward"], rtol=1e-6)
        assert "kl" not in line and not any(name.startswith("critic") for name in line)
    assert done.record["spend"]["updates"] == 3 and not unmoved(done, taught)
    assert done.record["spend"]["trained_tokens"] == done.record["spend"]["generated_tokens"]
