"""What is sampled from and trained is the model that was given; what cannot be is refused first."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING

from harness.models import attention, backbone
from harness.models.loading import accelerator
from harness.models.optimizer import OptimizerSettings
from harness.models.packing import Packed
from harness.models.policy import LMPolicy
from harness.rollout import self_check as self_check_file
from harness.rollout.engine import Engine
from harness.rollout.kv_cache import Cache
from harness.rollout.padded_decoding import CachedDecoder
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.self_check import TOLERANCE, _plain, check_prompts, self_check, switch_points
from tests.harness.architectures import ARMS, KNOWN, REFUSED, SPECS, tiny, trained
from tests.harness.tiny_models import byte_tokenizer, letters, prompts_of

LONGEST = 40  # tokens: past a window of 8 and a switch at 16
QUICK = ["llama", "mistral", "qwen2_moe", "gemma2", "gpt_oss", "bloom", "opt", "falcon", "gptj", "lfm2", "llama4"]


def opened(name: str, dtype: str = "float32", **changes: Any) -> tuple[LMPolicy, Sampler]:
    optim = OptimizerSettings(lr=1e-3)
    policy = LMPolicy(tiny(name), accelerator("cpu", dtype), optim, 1.0, True, 10**6, "separate", **changes)
    return policy, Sampler(policy.lm.model, letters(), 64, policy.accelerator.autocast)


def checked(policy: LMPolicy, sampler: Sampler, longest: int = LONGEST) -> Any:
    return self_check(policy, sampler, prompts_of(6, longest=14), longest)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", [n for n in QUICK if SPECS[n][0] in CONFIG_MAPPING])
def test_log_probabilities_are_the_models_own(name: str, checkpointing: bool) -> None:
    """Windows, chunks, sinks, alibi, biases in the mask, dropout in layers, recurrence: as each row reads alone."""
    policy, sampler = opened(name, gradient_checkpointing=checkpointing)
    found = checked(policy, sampler)
    assert found.gaps.keys() == {"sampler", "trainer"} | ({"checkpointed_gradient"} if checkpointing else set())
    assert max(found.gaps.values()) < 1e-5
    assert bool(found.notice) is (sampler.engine.decoding != "packed") is not policy.lm.packs


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", KNOWN)
def test_every_architecture_trains_as_it_reads_or_is_refused(name: str, arm: str, tmp_path: Path) -> None:
    if name in REFUSED:
        with pytest.raises(ValueError, match="keep sequences shorter"):
            trained(name, tmp_path / name, byte_tokenizer(), ARMS[arm])
        return
    checks = trained(name, tmp_path / name, byte_tokenizer(), ARMS[arm])
    gaps = {k: v for k, v in checks.items() if k != "reading"}
    assert "first_update_max_abs_logratio" in gaps and max(gaps.values()) < 1e-4, checks


def test_past_a_switch_of_the_rotary_embedding_there_is_no_run_and_before_it_there_is() -> None:
    """One long row would change how its neighbours are read, in batches and behind a cache."""
    policy, sampler = opened("phi3_longrope")
    with pytest.raises(ValueError, match=r"^model: Phi3ForCausalLM .* at 16 tokens: keep sequences shorter") as said:
        checked(policy, sampler)
    assert "\n" not in str(said.value)
    policy, sampler = opened("phi3_longrope")
    short = self_check(policy, sampler, prompts_of(6, longest=7), 16)
    assert max(short.gaps.values()) < 1e-5 and not short.notice


def test_switches_are_found_by_the_names_of_fields() -> None:
    config = {
        "attention_window_size": 8,
        "attention_chunk_size": 12,
        "sliding_window": None,
        "use_sliding_window": True,
    }
    config |= {"rope_parameters": {"full": {"original_max_position_embeddings": 16}}, "hidden_size": 64}
    assert switch_points(config) == [8, 12, 16]
    prompts = check_prompts([[1, 2], [3] * 5, [4] * 9], [16], longest=40)
    assert [len(p) for p in prompts][:3] == [2, 5, 9] and {len(p) for p in prompts[3:]} == {12, 24}
    assert all(len(p) <= 12 for p in check_prompts([[1]], [16], longest=20))


# ---------------------------------------------------------------- where a reading is wrong


def test_a_sampler_that_reads_something_else_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that forgets the window: packed readings agree with the model, decoded tokens do not."""
    monkeypatch.setattr(Cache, "_hidden", lambda self, rows, window, true=Cache._hidden: true(self, rows, None))
    policy, sampler = opened("mistral")
    found = checked(policy, sampler)
    assert sampler.engine.decoding == "cached" and not policy.lm.packs
    assert max(found.gaps.values()) < 1e-5
    assert found.notice.startswith("model: MistralForCausalLM is read in padded rows, with transformers' cache: slower")
    done = sampler(prompts_of(3), 2, Sampling(0.8, 12, 1))  # and a run goes on that way
    monkeypatch.undo()
    expected = Sampler(tiny("mistral"), letters(), 64)(prompts_of(3), 2, Sampling(0.8, 12, 1))
    assert torch.equal(done.tokens_NT, expected.tokens_NT)


def test_where_the_trainer_alone_is_wrong_every_model_of_the_policy_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short rows agree, so the trial when a model is opened sees nothing: windows longer than its rows."""

    def forgetful(self: Packed, owner: Any, grid: Any, window: int | None, true: Any = Packed._mask) -> Any:
        return true(self, owner, grid, None)

    monkeypatch.setattr(Packed, "_mask", forgetful)
    policy, sampler = opened("mistral")
    assert policy.lm.packs and sampler.engine.decoding == "packed"
    found = checked(policy, sampler)
    readers = (policy.lm, policy.critic_trunk, policy.reference_lm, sampler.engine.lm)
    assert not any(reader.packs or reader.varlen for reader in readers if reader is not None)
    assert "nats off" in found.notice and max(found.gaps.values()) < 1e-5


def test_where_transformers_cache_is_wrong_too_nothing_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(self: CachedDecoder, *given: Any, true: Any = CachedDecoder._forward) -> Any:
        return true(self, *given).flip(-1)

    monkeypatch.setattr(CachedDecoder, "_forward", off)
    policy, sampler = opened("gptj")
    assert sampler.engine.decoding == "uncached", "found on a few tokens, when the model is opened"
    assert max(checked(policy, sampler).gaps.values()) < 1e-5


class Doubled:
    """A layout whose answers are twice another's."""

    def __init__(self, layout: attention.Layout) -> None:
        self.layout = layout

    def attend(self, *given: Any) -> torch.Tensor:
        return 2 * self.layout.attend(*given)


def test_a_layer_that_is_computed_again_in_another_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forward pass cannot tell: the gradient is another's.  In padded rows there is no layout to lose."""

    def held(module: Any) -> AbstractContextManager[None]:
        now = attention._current
        return attention.attending(module, Doubled(now[-1])) if now else nullcontext()

    monkeypatch.setattr(backbone, "held", held)
    policy, sampler = opened("llama", gradient_checkpointing=True)
    found = checked(policy, sampler)
    assert not policy.lm.packs and "nats off" in found.notice and max(found.gaps.values()) < 1e-5
    assert not checked(*opened("llama")).notice


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_agreement(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, sampler = opened("llama")
    monkeypatch.setattr(self_check_file, "_plain", lambda model, r: torch.full_like(_plain(model, r), value))
    with pytest.raises(ValueError, match="^model: LlamaForCausalLM"):
        checked(policy, sampler)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    policy, sampler = opened("llama")
    with torch.no_grad():
        policy.lm.model.model.norm.weight.fill_(value)
    with pytest.raises(ValueError, match="^model: its logits are not finite"):
        checked(policy, sampler)


# ---------------------------------------------------------------- what it leaves


def test_it_changes_nothing_of_the_run() -> None:
    policy, sampler = opened("llama", gradient_checkpointing=True)
    state = torch.random.get_rng_state()
    before = {name: x.clone() for name, x in policy.lm.model.state_dict().items()}
    checked(policy, sampler)
    after = policy.lm.model.state_dict()
    assert all(torch.equal(x, after[name]) for name, x in before.items())
    assert all(p.grad is None for p in policy.lm.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state) and sampler.peak_cache_bytes == 0


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "lfm2"])
def test_under_16_bits_the_comparison_is_in_full_precision(name: str) -> None:
    policy, sampler = opened(name, "bfloat16")
    engine: Engine = sampler.engine
    found = checked(policy, sampler)
    assert max(found.gaps.values()) < TOLERANCE / 10 and sampler.engine is engine
    assert policy.lm.autocast == policy.accelerator.autocast
