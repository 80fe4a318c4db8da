"""Adapters on a frozen base: identities at the start, the chain rule, and who moves when."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from algos import Critic
from algos.core.types import Batch
from algos.grpo import GRPO
from algos.ppo import PPO
from harness.config.lora import LoraFields
from harness.models.adapters.adapter_set import CRITIC, POLICY, REFERENCE
from harness.models.adapters.attach import attach
from harness.models.adapters.folders import plain_copy
from harness.models.backbone import plain_logits
from harness.models.half_precision import autocast_dtype
from harness.models.loading import accelerator
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.self_check import self_check
from tests.harness.models.test_policy import credited, gradient, rewarded, whole
from tests.harness.tiny_models import KINDS, build, explored, letters, policy_of, prompts_of, rollouts_of
from tests.helpers import close

NONE: frozenset[Any] = frozenset()
PLAIN, DORA = LoraFields(r=4, alpha=8), LoraFields(r=4, alpha=8, dora=True)


def adapted(
    kind: str = "llama",
    fields: LoraFields = PLAIN,
    dtype: torch.dtype = torch.float32,
    critic: Critic = "none",
    reference: bool = False,
    kept: bool = False,
    spread: float = 0.0,
    checkpointing: bool = False,
    precision: str = "",
) -> LMPolicy:
    """Of the model that `explored` sampled from.  `spread`: of B, which is 0 at the start of a run."""
    model = build(kind, dtype=dtype)
    adapters = attach(model, fields, 5, critic == "separate", kept)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for adapter in (POLICY, CRITIC):
            for name, p in adapters.named(adapter).items():
                if "lora_B" in name:
                    p.add_(spread * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    name = precision or {torch.float32: "float32", torch.float64: "float64"}[dtype]
    optim = OptimizerSettings(lr=1e-2)
    placed = accelerator("cpu", name)
    return LMPolicy(
        model, placed, optim, 0.8, reference, 8192, critic, 1.0, checkpointing, "device", adapters
    )  # fmt: skip


def update(policy: LMPolicy, algo: Any, batch: Batch, times: int = 1) -> None:
    for _ in range(times):
        for outputs in policy.forward_passes(batch, algo.needs):
            policy.backward(algo.loss(batch, outputs)[0])
        policy.step()


def base_of(policy: LMPolicy) -> list[Tensor]:
    assert policy.adapters is not None
    return [p.detach().clone() for p in policy.adapters.base]


# ---------------------------------------------------------------- at the start


@pytest.mark.parametrize("fields", [PLAIN, DORA, LoraFields(r=2, rslora=True)], ids=["lora", "dora", "rslora"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_the_start_policy_and_reference_are_the_model_to_the_bit(kind: str, fields: LoraFields) -> None:
    r, bare = explored(kind), policy_of(kind)
    policy = adapted(kind, fields, reference=True)
    expected = bare.score(r)
    assert torch.equal(policy.score(r), expected)
    assert torch.equal(policy.annotate(r, frozenset({"reference"})).ref_logp_NT, expected)
    batch = whole(r, credited(r, torch.float32))
    assert torch.equal(policy.forward(batch, NONE).logp_NT, bare.forward(batch, NONE).logp_NT)


@pytest.mark.parametrize("fields", [PLAIN, DORA], ids=["lora", "dora"])
def test_the_sampler_feels_the_adapter_and_the_ratio_is_one(fields: LoraFields) -> None:
    """Decoded with keys kept, read packed, and by the model's own forward: one policy, and not the base's."""
    policy = adapted("qwen2", fields, spread=0.2, reference=True)
    sampler = Sampler(policy.lm.model, letters())
    gaps = self_check(policy, sampler, prompts_of(6), 64).gaps
    assert gaps["sampler"] < 1e-5 and gaps["trainer"] < 1e-5
    prompts = prompts_of(4)
    done = sampler(prompts, 2, Sampling(0.8, 8, seed=3))
    r = rollouts_of(prompts, 2, done)
    close(policy.score(r), r.logp_NT, rtol=0, atol=1e-5)
    reference = policy.annotate(r, frozenset({"reference"})).ref_logp_NT
    assert float((reference - r.logp_NT).abs().max()) > 0.1


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    models, drawn = [build("llama") for _ in range(3)], []
    for model, seed, process in zip(models, (0, 0, 1), (1, 2, 3), strict=True):
        torch.manual_seed(process)
        before = torch.random.get_rng_state()
        drawn.append(attach(model, PLAIN, seed).parameters(POLICY))
        assert torch.equal(torch.random.get_rng_state(), before), "the process's own generator was used"
    one, two, other = drawn
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- the gradient


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_adapters_gradient_is_the_chain_rules(kind: str) -> None:
    """W' = W + s B A, so with G = dL/dW' (out x in):  dL/dA = s B^T G,  dL/dB = s G A^T."""
    r = rewarded(explored(kind, torch.float64))
    batch, algo, scale = whole(r, credited(r, torch.float64)), GRPO(kl_coef=0), 2.0
    policy = adapted(kind, dtype=torch.float64, spread=0.1)
    assert policy.adapters is not None
    ours = gradient(policy, algo, [batch])
    full = policy_of(kind, torch.float64)
    full.lm.model.load_state_dict(plain_copy(policy.adapters).state_dict())
    theirs = gradient(full, algo, [batch])
    named, checked = policy.adapters.named(POLICY), 0
    for name, a in named.items():
        if "lora_A" not in name:
            continue
        b = named[name.replace("lora_A", "lora_B")]
        place = name.split(".lora_A")[0]
        g = theirs[f"{place}.weight"]
        g = g.T if isinstance(full.lm.model.get_submodule(place), Conv1D) else g
        close(ours[name], scale * b.T @ g, rtol=1e-9, atol=1e-10)
        close(ours[name.replace("lora_A", "lora_B")], scale * g @ a.T, rtol=1e-9, atol=1e-10)
        checked += 1
    assert checked == {"llama": 14, "gpt2": 8}[kind] and len(ours) == 2 * checked


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_layers_computed_again_are_computed_with_the_adapter_of_their_pass(critic: Critic) -> None:
    """The value model's backward pass comes while the policy's adapter acts."""
    r = rewarded(explored("llama", torch.float64))
    algo, found = PPO(critic=critic, kl_coef=0), []
    for checkpointing in (False, True):
        policy = adapted("llama", dtype=torch.float64, critic=critic, spread=0.1, checkpointing=checkpointing)
        assert policy.critic is not None
        with torch.no_grad():
            policy.critic.head.weight.fill_(0.3)
        valued = policy.annotate(r, frozenset({"values"}))
        credit = algo.credit(replace(valued, ref_logp_NT=None))
        batch = whole(valued, credit)
        for outputs in policy.forward_passes(batch, algo.needs):
            policy.backward(algo.loss(batch, outputs)[0])
        groups = policy.optimizer.param_groups
        found.append([torch.zeros_like(p) if p.grad is None else p.grad for g in groups for p in g["params"]])
    assert sum(float(g.abs().sum()) > 0 for g in found[0]) > 10
    for kept, again in zip(*found, strict=True):
        close(again, kept, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- who moves


@pytest.mark.parametrize("fields", [PLAIN, DORA], ids=["lora", "dora"])
def test_only_the_adapter_moves_and_the_reference_never_does(fields: LoraFields) -> None:
    r = rewarded(explored("llama"))
    policy = adapted("llama", fields, reference=True)
    base, first = base_of(policy), policy.score(r)
    assert policy.adapters is not None
    trained = {id(p) for p in policy.adapters.parameters(POLICY)}
    assert {id(p) for g in policy.optimizer.param_groups for p in g["params"]} == trained
    assert {id(p) for p in policy.model.parameters() if p.requires_grad} == trained
    r = policy.annotate(r, frozenset({"reference"}))
    update(policy, GRPO(), whole(r, credited(r, torch.float32)), times=3)
    assert all(torch.equal(a, b) for a, b in zip(base, policy.adapters.base, strict=True))
    assert torch.equal(policy.annotate(r, frozenset({"reference"})).ref_logp_NT, first)
    assert float((policy.score(r) - first).abs().max()) > 1e-3
    assert torch.equal(build("llama").lm_head.weight, policy.lm.head.weight)


def test_policy_and_value_model_share_the_base_and_do_not_feel_each_other() -> None:
    r = rewarded(explored("llama"))
    policy = adapted("llama", critic="separate")
    whole_value_model = policy_of("llama", critic="separate")
    for each in (policy, whole_value_model):
        assert each.critic is not None
        with torch.no_grad():
            each.critic.head.weight.copy_(torch.linspace(-1, 1, 32))
    start = policy.values(r)
    assert torch.equal(start, whole_value_model.values(r)), "its start is a copy of the start model's backbone"
    algo = PPO(kl_coef=0)
    r = replace(r, value_NT=start)
    batch = whole(r, algo.credit(r))
    update(policy, algo, batch, times=2)
    assert not torch.equal(policy.values(r), start)
    assert policy.adapters is not None
    moved = policy.score(r)
    with torch.no_grad():
        for p in policy.adapters.parameters(CRITIC):
            p.add_(1.0)
    assert torch.equal(policy.score(r), moved)


def test_a_reference_that_is_kept_is_renewed() -> None:
    r = rewarded(explored("llama"))
    policy = adapted("llama", reference=True, kept=True)
    first = policy.score(r)
    r = policy.annotate(r, frozenset({"reference"}))
    assert torch.equal(r.ref_logp_NT, first)
    update(policy, GRPO(), whole(r, credited(r, torch.float32)), times=2)
    assert torch.equal(policy.annotate(r, frozenset({"reference"})).ref_logp_NT, first)
    policy.reset_reference()
    assert torch.equal(policy.annotate(r, frozenset({"reference"})).ref_logp_NT, policy.score(r))
    assert policy.adapters is not None and REFERENCE in policy.modules() and not torch.equal(policy.score(r), first)
    assert not any(p.requires_grad for p in policy.adapters.parameters(REFERENCE))


def test_without_one_to_renew_it_says_so() -> None:
    with pytest.raises(ValueError, match="no reference to reset"):
        adapted("llama", reference=True).reset_reference()


# ---------------------------------------------------------------- precision, memory, state


@pytest.mark.parametrize("fields", [PLAIN, DORA], ids=["lora", "dora"])
def test_in_16_bits_the_sampler_decodes_what_the_trainer_reads(fields: LoraFields) -> None:
    policy = adapted("llama", fields, precision="bfloat16", spread=0.2)
    autocast = policy.accelerator.autocast
    assert autocast_dtype(autocast, policy.device) == torch.bfloat16
    sampler = Sampler(policy.lm.model, letters(), autocast=autocast)
    assert (sampler.engine.half_precision is None) == fields.dora
    row = torch.tensor(prompts_of(2)[1])
    with torch.no_grad(), sampler.engine.ready(), autocast():
        ours = plain_logits(sampler.engine.lm.model, row, torch.arange(len(row)))
        theirs = plain_logits(policy.lm.model, row, torch.arange(len(row)))
    assert torch.equal(ours, theirs)


def test_memory_parts_hold_one_base_and_small_states() -> None:
    r = rewarded(explored("llama"))
    full, small = (
        policy_of("llama", reference=True, critic="separate"),
        adapted("llama", reference=True, critic="separate"),
    )
    algo, parts = PPO(), []
    for policy in (full, small):
        noted = policy.annotate(r, algo.needs)
        update(policy, algo, whole(noted, algo.credit(noted)))
        parts.append(policy.memory_parts())
    numbers = sum(p.numel() for p in build("llama").parameters())
    assert small.adapters is not None
    adapter = small.adapters.size
    # r (in + out) of q, k, v, o (32 x 32, 16 x 32 twice, 32 x 32) and of gate, up, down (48 x 32), in two layers
    assert adapter == 2 * 4 * (64 + 48 + 48 + 64 + 3 * 80)
    assert parts[1]["policy"] == 4 * (numbers + adapter) and "reference" not in parts[1]
    assert parts[1]["critic"] == 4 * (adapter + 32 + 1)
    assert parts[1]["gradients"] == 4 * (2 * adapter + 32 + 1)
    assert parts[0]["reference"] == parts[0]["policy"] == 4 * numbers
    assert sum(parts[1].values()) < sum(parts[0].values()) / 2


def test_a_loaded_state_goes_on_to_the_same_bits() -> None:
    r = rewarded(explored("llama"))
    algo = PPO(kl_coef=0)
    one, two = adapted("llama", critic="separate"), adapted("llama", critic="separate", spread=0.3)
    r = one.annotate(r, algo.needs)
    batch = whole(r, algo.credit(r))
    update(one, algo, batch)
    two.load(copy.deepcopy(one.state()))
    for policy in (one, two):
        update(policy, algo, batch)
    assert torch.equal(one.score(r), two.score(r)) and torch.equal(one.values(r), two.values(r))
    assert sum(x.numel() for x in one.state()["policy"].values()) == one.adapters.size  # type: ignore[union-attr]


@pytest.mark.parametrize("fields", [PLAIN, DORA], ids=["lora", "dora"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_merged_is_unmerged(kind: str, fields: LoraFields) -> None:
    policy = adapted(kind, fields, dtype=torch.float64, spread=0.2)
    assert policy.adapters is not None
    row = torch.tensor([prompts_of(2)[1]])
    with torch.no_grad():
        theirs = policy.lm.model(input_ids=row).logits
        ours = plain_copy(policy.adapters)(input_ids=row).logits
        start = build(kind, dtype=torch.float64)(input_ids=row).logits
    close(ours, theirs, rtol=1e-6, atol=1e-9)
    assert float((theirs - start).abs().max()) > 0.1
