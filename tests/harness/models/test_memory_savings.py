"""What saves memory changes no number: checkpointed layers, a parked or a to_half_precision reference; and what is
missing."""

from __future__ import annotations

import builtins
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from algos import Critic
from algos.grpo import GRPO
from algos.ppo import PPO
from harness.models.half_precision import to_half_precision
from harness.models.loading import accelerator
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy
from harness.training.memory_check import probe, worst
from tests.harness.models.test_policy import credited, gradient, rewarded, whole
from tests.harness.tiny_models import build, explored


def policy_of(kind: str = "llama", critic: Critic = "none", dtype: str = "float32", **levers: Any) -> LMPolicy:
    return LMPolicy(build(kind), accelerator("cpu", dtype), OptimizerSettings(1e-3), 0.8, True, 8192, critic, **levers)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_a_checkpointed_gradient_is_the_gradient(kind: str) -> None:
    """... bit for bit; every layer ran twice forward, and dropout is off both times."""
    r = rewarded(explored(kind))
    algo, batch = GRPO(kl_coef=0), whole(r, credited(r, torch.float32))
    expected = gradient(policy_of(kind), algo, [batch])
    policy = policy_of(kind, gradient_checkpointing=True)
    policy.model.train().eval()  # as a rollout leaves it
    layers = policy.model.model.layers if kind != "gpt2" else policy.model.transformer.h
    calls = []
    layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    found = gradient(policy, algo, [batch])
    assert len(calls) == 2
    assert all(torch.equal(found[name], g) for name, g in expected.items())
    assert not any(m.training for m in policy.model.modules() if isinstance(m, torch.nn.Dropout))


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_checkpointed_critic(critic: Critic) -> None:
    r = rewarded(explored("llama"))
    algo = PPO(critic=critic, kl_coef=0)

    def of(policy: LMPolicy) -> list[torch.Tensor]:
        told = policy.annotate(r, algo.needs)
        batch = whole(told, algo.credit(told))
        policy.backward(algo.loss(batch, policy.forward(batch, algo.needs))[0])
        assert policy.critic is not None
        return [p.grad for p in [*policy.model.parameters(), *policy.critic.parameters()] if p.grad is not None]

    plain, saved = of(policy_of(critic=critic)), of(policy_of(critic=critic, gradient_checkpointing=True))
    assert len(plain) == len(saved) and all(torch.equal(a, b) for a, b in zip(plain, saved, strict=True))


def test_a_parked_reference_reads_the_same() -> None:
    r = rewarded(explored("llama"))
    here, away = (policy_of(reference_device=where).annotate(r, GRPO().needs) for where in ("device", "cpu"))
    assert here.ref_logp_NT is not None and torch.equal(here.ref_logp_NT, away.ref_logp_NT)  # type: ignore[arg-type]


def test_a_narrowed_reference_gives_what_autocast_gives_bit_for_bit() -> None:
    r = explored("llama")
    policy = policy_of(dtype="bfloat16")
    assert policy.reference is not None
    kept = {p.dtype for p in policy.reference.parameters()}
    assert kept == {torch.float32, torch.bfloat16}
    assert torch.equal(policy.score(r), policy.score(r, policy.reference_lm))
    parts = policy.memory_parts()
    assert 0.5 * parts["policy"] <= parts["reference"] < parts["policy"]


def test_narrowing_a_tied_head_leaves_the_embedding() -> None:
    model = to_half_precision(build("qwen2"), torch.bfloat16)
    assert model.lm_head.weight.dtype == torch.bfloat16 and model.model.embed_tokens.weight.dtype == torch.float32


def test_an_optimiser_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "bitsandbytes":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ValueError, match="optimizer: adamw8bit needs bitsandbytes, which is not installed here"):
        OptimizerSettings(1e-3, name="adamw8bit").build(
            [{"params": [torch.nn.Parameter(torch.ones(1))]}], torch.device("cpu")
        )


# ---------------------------------------------------------------- the worst micro-batch first


def test_the_worst_micro_batch_fills_what_it_may() -> None:
    for micro_batch_tokens, rows in ((1000, 30), (50, 1), (1, 1)):
        r = worst(prompt=20, token_limit=33, micro_batch_tokens=micro_batch_tokens, device=torch.device("cpu"))
        assert (
            r.tokens_NS.shape == (rows, 53)
            and bool(r.completion_mask_NT.all())
            and r.completion_mask_NT.shape == (rows, 33)
        )
        assert rows == 1 or 20 + rows * 32 <= micro_batch_tokens < 20 + (rows + 1) * 32


@pytest.mark.parametrize("algo", [GRPO(), PPO(critic="separate"), PPO(critic="shared")])
def test_a_probe_leaves_no_trace(algo: Any) -> None:
    critic = getattr(algo, "critic", "none")
    trainer = SimpleNamespace(
        policy=policy_of(critic=critic), algo=algo, micro_batch_tokens=200, sampling=SimpleNamespace(max_new_tokens=20),
        tokenizer=SimpleNamespace(answered=0),
    )  # fmt: skip
    before = {k: v.clone() for k, v in trainer.policy.model.state_dict().items()}
    probe(trainer, prompt=9)  # type: ignore[arg-type]
    assert all(torch.equal(before[k], v) for k, v in trainer.policy.model.state_dict().items())
    assert all(p.grad is None for m in trainer.policy.modules().values() for p in m.parameters())
    assert not trainer.policy.optimizer.state


def test_a_worst_micro_batch_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of()

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(policy, "forward", full)
    trainer = SimpleNamespace(
        policy=policy, algo=GRPO(), micro_batch_tokens=200, sampling=SimpleNamespace(max_new_tokens=20),
        tokenizer=SimpleNamespace(answered=0),
    )  # fmt: skip
    with pytest.raises(
        MemoryError, match=r"a micro-batch of 10 x 20 tokens does not fit: lower micro_batch_tokens \(200\)"
    ):
        probe(trainer, prompt=9)  # type: ignore[arg-type]
