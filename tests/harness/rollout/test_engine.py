"""The engine's other ways to decode: fixed shapes as CUDA graphs need, a 16-bit shadow, transformers' own cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.models.attention import attending
from harness.models.causal_lm import CausalLM
from harness.models.half_precision import half_precision_copy, refresh
from harness.models.limits import bucket
from harness.rollout.engine import Engine
from harness.rollout.sampler import Completions, Sampler, Sampling
from tests.harness.models.test_causal_lm import MORE, model_of
from tests.harness.models.test_policy import credited, whole
from tests.harness.rollout.test_sampler import same, tokens_of
from tests.harness.tiny_models import KINDS, build, letters, policy_of, prompts_of, rollouts_of, sampler_of
from tests.helpers import close

PROMPTS = prompts_of(6)
G, T = 4, 24
WARM = Sampling(temperature=0.8, max_new_tokens=T, seed=15)


def static(model: Any, look: int = 5) -> Sampler:
    """A sampler that decodes as on CUDA, without the graphs."""
    sampler = Sampler(model, letters())
    sampler.engine = Engine(model, static=True)
    sampler.engine.sync_every = look
    return sampler


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("look", [1, 5, 16])
def test_fixed_shapes_give_the_same_tokens(kind: str, look: int) -> None:
    """Idle rows, columns that are not there yet, ends seen late: none of it shows."""
    sampler = static(build(kind), look)
    same(sampler(PROMPTS, G, WARM), sampler_of(kind)(PROMPTS, G, WARM))
    assert sampler.engine.graphs.steps, "nothing went through a captured step"


def test_fixed_memory_serves_the_next_rollout() -> None:
    """Other prompts in the same memory; the steps of the first rollout are used again."""
    sampler, plain = static(build("llama")), sampler_of("llama")
    sampler(PROMPTS, G, WARM)
    memory, steps = sampler.engine.memory, len(sampler.engine.graphs.steps)
    others = [p[::-1] for p in PROMPTS[::-1]]
    same(sampler(others, G, WARM), plain(others, G, WARM))
    assert sampler.engine.memory is memory and len(sampler.engine.graphs.steps) <= steps + 2
    longer = [[*p, *p, *p] for p in prompts_of(6, longest=50)]
    same(sampler(longer, G, WARM), plain(longer, G, WARM))
    assert sampler.engine.memory is not memory, "prompts that do not fit need other memory"


def test_fixed_shapes_and_a_stop_string() -> None:
    text = letters().decode(tokens_of(sampler_of("llama")(PROMPTS, G, WARM))[0])
    stopping = Sampling(0.8, T, 15, stop=(text[3:6],))
    same(static(build("llama"))(PROMPTS, G, stopping), sampler_of("llama")(PROMPTS, G, stopping))


@pytest.mark.parametrize("kind", MORE)
@pytest.mark.parametrize("fixed", [False, True])
def test_greedy_is_generate_for_other_architectures(kind: str, fixed: bool) -> None:
    model = model_of(kind)
    model.generation_config.eos_token_id = list(range(60, 90))
    sampler = static(model) if fixed else Sampler(model, letters())
    assert sampler.engine.lm.packs
    done = tokens_of(sampler(PROMPTS, 1, Sampling(0.0, 16)))
    for prompt, tokens in zip(PROMPTS, done, strict=True):
        ids = torch.tensor([prompt])
        model.generation_config.eos_token_id = sampler.ends
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
        assert tokens == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_transformers_own_cache_gives_the_same_tokens(kind: str) -> None:
    sampler = Sampler(build(kind), letters())
    sampler.engine.lm.packs = False
    same(sampler(PROMPTS, G, WARM), sampler_of(kind)(PROMPTS, G, WARM))
    assert sampler.peak_cache_bytes > 0


def test_rows_are_rounded_up_by_a_third_at_most() -> None:
    sizes = [bucket(n) for n in range(1, 200)]
    assert sizes[:9] == [1, 2, 3, 4, 6, 6, 8, 8, 12]
    assert all(n <= size <= max(n + 1, 1.5 * n) for n, size in enumerate(sizes, 1)) and sorted(sizes) == sizes


# ---------------------------------------------------------------- 16 bits


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_shadow_gives_what_autocast_gives_bit_for_bit(kind: str) -> None:
    model = build(kind)
    twin = half_precision_copy(model, torch.bfloat16)
    ids = torch.tensor(PROMPTS[1])[None]
    with torch.no_grad(), autocast():
        assert torch.equal(twin(input_ids=ids).logits, model(input_ids=ids).logits)
    weights = {name: p.dtype for name, p in twin.named_parameters()}
    assert weights["model.layers.0.mlp.up_proj.weight"] == torch.bfloat16
    assert weights["model.embed_tokens.weight"] == weights["model.norm.weight"] == torch.float32
    assert twin.model.embed_tokens.weight is model.model.embed_tokens.weight, "what is not cast is shared"


def test_a_shadow_follows_its_model() -> None:
    model = build("llama")
    twin = half_precision_copy(model, torch.bfloat16)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    refresh(twin, model)
    ids = torch.tensor(PROMPTS[1])[None]
    with torch.no_grad(), autocast():
        assert torch.equal(twin(input_ids=ids).logits, model(input_ids=ids).logits)


def test_the_sampler_decodes_in_the_autocast_that_it_is_given() -> None:
    """Every rollout begins with the weights as they are; the trainer's own reading of the tokens is near."""
    model = build("llama")
    sampler = Sampler(model, letters(), autocast=autocast)
    assert sampler.engine.half_precision is not None
    first: Completions = sampler(PROMPTS, G, WARM)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.5)
    second = sampler(PROMPTS, G, WARM)
    assert tokens_of(first) != tokens_of(second)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    whole = sampler_of("llama")(PROMPTS, G, WARM)
    begun = [a[:2] == b[:2] for a, b in zip(tokens_of(first), tokens_of(whole), strict=True)]
    assert sum(begun) > 0.6 * len(begun), "in 16 bits other tokens altogether"


def test_layouts_nest() -> None:
    """A reading inside a reading: the inner one's layout does not outlive it."""
    model = build("llama")
    outer, inner = (CausalLM(model) for _ in range(2))
    from tests.harness.models.test_causal_lm import example

    with torch.no_grad(), attending(model.base_model, object()):  # type: ignore[arg-type]
        inner.hidden_states(example())
        assert model.config._attn_implementation == "harness"
    assert model.config._attn_implementation != "harness" and outer.packs
    chosen = outer.hidden_states(example())
    close(
        outer.token_logprobs(chosen, 1.0)[0].detach(), inner.token_logprobs(chosen, 1.0)[0].detach(), rtol=0, atol=1e-12
    )


# ---------------------------------------------------------------- values along the way


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("fixed", [False, True])
def test_a_heads_values_are_those_of_a_reading_afterwards(kind: str, fixed: bool) -> None:
    """V of the state in which each token was drawn, 0 after the end; tokens are what they are without a critic."""
    policy = policy_of(kind, critic="shared")
    assert policy.critic is not None
    with torch.no_grad():
        policy.critic.head.weight.copy_(torch.linspace(-1, 1, len(policy.critic.head.weight)))
        policy.critic.head.bias.fill_(0.3)
    sampler = static(policy.lm.model) if fixed else Sampler(policy.lm.model, letters())
    sampler.engine.critic = policy.critic
    done = sampler(PROMPTS, G, WARM)
    same(done, sampler_of(kind)(PROMPTS, G, WARM))
    r = rollouts_of(PROMPTS, G, done)
    assert done.value_NT is not None and float(done.value_NT.abs().max()) > 0.1
    close(done.value_NT, policy.values(r), rtol=0, atol=1e-5)
    close(
        done.entropy_NT, policy.forward(whole(r, credited(r, torch.float32)), frozenset()).entropy_NT.detach(), 0, 1e-5
    )
