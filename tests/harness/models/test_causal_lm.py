"""The packed reading against the padded one, which is a plain forward of the model, and against loops."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GPTNeoXConfig, GraniteConfig, Qwen3Config

from algos import Rollouts
from harness.models import attention, limits
from harness.models.causal_lm import CausalLM, log_chosen
from harness.models.loading import silenced
from harness.models.packing import Packed
from tests.harness.tiny_models import KINDS, VOCABULARY, build, explored, fill, plain_logp, real_rows
from tests.helpers import close

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": 1,
}  # fmt: skip
MORE: dict[str, Any] = {
    "qwen3": lambda: Qwen3Config(**SHAPE, num_key_value_heads=2, head_dim=8),
    "gemma2": lambda: Gemma2Config(**SHAPE, num_key_value_heads=2, head_dim=8, sliding_window=6),  # both soft caps
    "gemma3": lambda: Gemma3TextConfig(
        **SHAPE, num_key_value_heads=2, head_dim=8, sliding_window=6
    ),  # and norms on q, k
    "granite": lambda: GraniteConfig(**SHAPE, num_key_value_heads=2, logits_scaling=4.0),
    "gpt_neox": lambda: GPTNeoXConfig(**SHAPE),
}


def model_of(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    if kind in KINDS:
        return build(kind, dtype=dtype)
    config = MORE[kind]()
    with silenced():
        return fill(AutoModelForCausalLM.from_config(config, attn_implementation="eager"), 0).to(dtype).eval()


def gradients(lm: CausalLM, r: Rollouts, entropy: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probabilities, and the gradient of an uneven sum of them and of the entropies."""
    lm.model.zero_grad()
    chosen = lm.hidden_states(r)
    logp_M, entropy_M = lm.token_logprobs(chosen, 0.8, entropy)
    weight_M = torch.linspace(-1, 2, len(logp_M), dtype=logp_M.dtype)
    loss = (weight_M * logp_M).sum() + ((weight_M.flip(0) * entropy_M).sum() if entropy else 0.0)
    loss.backward()
    found = {name: p.grad.clone() for name, p in lm.model.named_parameters() if p.grad is not None}
    return chosen.scatter(logp_M).detach(), found


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, *MORE])
def test_packed_is_padded(kind: str, entropy: bool) -> None:
    """RoPE, absolute positions, windows, grouped heads, soft caps, scaled logits: log-probabilities within 1e-5 and
    gradients within 1e-6 of their norm, in fp32, where weights are no larger than a trained model's."""
    r = explored("llama", group_size=4)
    lm = CausalLM(model_of(kind))
    with torch.no_grad():
        for p in lm.model.parameters():
            p.mul_(0.4 if p.dim() > 1 else 1.0)
    assert lm.packs
    logp_NT, packed = gradients(lm, r, entropy)
    lm.packs = False
    expected_NT, padded = gradients(lm, r, entropy)
    close(logp_NT, expected_NT, rtol=0, atol=1e-5)
    assert packed.keys() == padded.keys()
    apart, whole = (
        torch.cat([x.flatten() for x in g]).norm() for g in ([packed[k] - padded[k] for k in padded], padded.values())
    )
    close(apart / whole, 0.0, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_packed_is_padded_to_the_last_bits_of_double_precision(kind: str) -> None:
    r = explored(kind, torch.float64)
    lm = CausalLM(model_of(kind, torch.float64))
    logp_NT, packed = gradients(lm, r, True)
    lm.packs = False
    expected_NT, padded = gradients(lm, r, True)
    close(logp_NT, expected_NT, rtol=0, atol=1e-12)
    for name, g in padded.items():
        close(packed[name], g, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_those_of_a_row_alone(kind: str) -> None:
    r = explored(kind)
    lm = CausalLM(model_of(kind))
    with torch.no_grad():
        chosen = lm.hidden_states(r)
        logp_NT = chosen.scatter(lm.token_logprobs(chosen, 0.8)[0])
    for i, (row, start) in enumerate(real_rows(r)):
        plain = plain_logp(lm.model, row, start, 0.8)
        expected = plain[torch.arange(len(row) - start), row[start:]]
        close(logp_NT[i][: len(row) - start], expected, rtol=0, atol=1e-5)


def example() -> Rollouts:
    """Two completions of one prompt and one of another, the third of one token, rows out of order."""
    tokens = torch.tensor([[0, 5, 6, 8, 9, 0], [4, 4, 4, 3, 0, 0], [0, 5, 6, 7, 7, 7]])
    attend = torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]]).bool()
    return Rollouts(tokens, attend, attend[:, 3:], torch.zeros(3, 3), torch.tensor([7, 2, 7]))


def test_a_pack_by_hand() -> None:
    """Prompts in order of their group's number, then completions by length; the last token of each is not read."""
    packed = Packed.of(example())
    assert packed.token_K.tolist() == [4, 4, 4, 5, 6, 8, 7, 7]
    assert packed.position_K.tolist() == [0, 1, 2, 0, 1, 2, 2, 3]
    assert packed.target_M.tolist() == [8, 9, 3, 7, 7, 7]
    assert packed.state_M.tolist() == [4, 5, 2, 4, 6, 7]
    assert [(owner.tolist(), grid.cell_RC.tolist()) for owner, grid in packed.length_buckets] == [
        ([1], [[5]]),
        ([1], [[6, 7]]),
    ]
    assert packed.prompts.cell_RC.tolist() == [[0, 1, 2], [3, 4, 0]]


def test_the_order_of_rows_and_their_padding_change_nothing() -> None:
    r, lm = explored("llama", torch.float64), CausalLM(model_of("llama", torch.float64))
    order = torch.randperm(len(r.group_N), generator=torch.Generator().manual_seed(0))

    def read(r: Rollouts) -> torch.Tensor:
        with torch.no_grad():
            chosen = lm.hidden_states(r)
            return chosen.scatter(lm.token_logprobs(chosen, 1.0)[0])

    whole = read(r)
    close(read(r.take(order)), whole[order], rtol=0, atol=1e-12)
    wider = dataclasses.replace(
        r,
        tokens_NS=torch.nn.functional.pad(r.tokens_NS, (3, 2), value=17),
        attention_mask_NS=torch.nn.functional.pad(r.attention_mask_NS, (3, 2)),
        completion_mask_NT=torch.nn.functional.pad(r.completion_mask_NT, (0, 2)),
    )
    close(read(wider)[:, :-2], whole, rtol=0, atol=1e-12)


def test_tokens_that_the_policy_did_not_choose_are_read_and_not_judged() -> None:
    """Tool output: attended, no log-probability, and the next chosen token is foreseen from it."""
    r, lm = example(), CausalLM(model_of("llama"))
    holed = dataclasses.replace(r, completion_mask_NT=r.completion_mask_NT & torch.tensor([True, False, True]))
    with torch.no_grad():
        whole = lm.hidden_states(r)
        part = lm.hidden_states(holed)
        all_NT, some_NT = (c.scatter(lm.token_logprobs(c, 1.0)[0]) for c in (whole, part))
    close(some_NT, torch.where(holed.completion_mask_NT, all_NT, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("entropy", [False, True])
def test_a_head_in_pieces_gives_what_it_gives_whole(monkeypatch: pytest.MonkeyPatch, entropy: bool) -> None:
    r, lm = explored("qwen2", torch.float64), CausalLM(model_of("qwen2", torch.float64))
    logp_NT, expected = gradients(lm, r, entropy)
    monkeypatch.setattr(limits, "LOGIT_BYTES", 4 * VOCABULARY * 7)  # seven tokens at once
    pieces_NT, found = gradients(lm, r, entropy)
    close(pieces_NT, logp_NT, rtol=0, atol=1e-12)
    for name, g in expected.items():
        close(found[name], g, rtol=1e-9, atol=1e-12)


def test_no_more_logits_are_held_than_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    r, lm = explored("llama"), CausalLM(model_of("llama"))
    monkeypatch.setattr(limits, "LOGIT_BYTES", 4 * VOCABULARY * 5)
    widths: list[int] = []
    lm.head.register_forward_hook(lambda _, __, out: widths.append(len(out)))
    gradients(lm, r, False)
    tokens = int(r.completion_mask_NT.sum())
    assert max(widths) == 5 and sum(widths) == 2 * tokens, "forward, and again for the backward pass"


def test_pieces_are_larger_where_each_casts_the_head_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA in 16 bits, where rows are varlen: read here as ever, and judged as if they were."""
    r, lm = explored("llama"), CausalLM(model_of("llama"))
    monkeypatch.setattr(limits, "LOGIT_BYTES", 4 * VOCABULARY * 5)
    monkeypatch.setattr(limits, "VARLEN_LOGIT_BYTES", 4 * VOCABULARY * 20)
    widths: list[int] = []
    lm.head.register_forward_hook(lambda _, __, out: widths.append(len(out)))
    with torch.no_grad():
        chosen, lm.varlen = lm.hidden_states(r), True
        lm.token_logprobs(chosen, 1.0)
    assert max(widths) == 20 and sum(widths) == int(r.completion_mask_NT.sum())


def test_log_chosen_against_autograd() -> None:
    logits = torch.randn(9, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    target = torch.arange(9) % 13
    weight = torch.linspace(-1, 1, 9, dtype=torch.float64)
    logp, entropy = log_chosen(logits, target, False)
    (mine,) = torch.autograd.grad((weight * logp).sum(), logits)
    plain = torch.log_softmax(logits, -1)
    (theirs,) = torch.autograd.grad((weight * plain[torch.arange(9), target]).sum(), logits)
    close(mine, theirs, rtol=0, atol=1e-14)
    close(logp.detach(), plain[torch.arange(9), target].detach(), rtol=0, atol=1e-14)
    close(entropy, -(plain.exp() * plain).sum(-1).detach(), rtol=0, atol=1e-14)


def test_a_model_whose_attention_cannot_be_packed_is_read_in_padded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    r = explored("llama")
    packed = CausalLM(model_of("llama"))
    monkeypatch.setattr(Packed, "attend", lambda *_: (_ for _ in ()).throw(NotImplementedError("sinks")))
    padded = CausalLM(model_of("llama"))
    assert not padded.packs
    monkeypatch.undo()
    with torch.no_grad():
        one, two = (c.scatter(lm.token_logprobs(c, 0.8)[0]) for lm in (packed, padded) for c in (lm.hidden_states(r),))
    close(one, two, rtol=0, atol=1e-5)


def test_a_wrong_packing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that the layout forgot: numbers, but not the model's."""
    true = Packed._mask
    monkeypatch.setattr(Packed, "_mask", lambda self, owner, grid, window: true(self, owner, grid, 2))
    assert not CausalLM(model_of("llama")).packs


def test_logits_that_are_not_the_heads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    forward = type(model).forward

    def shifted(self: Any, **given: Any) -> Any:
        out = forward(self, **given)
        out.logits = out.logits + torch.arange(VOCABULARY)
        return out

    monkeypatch.setattr(type(model), "forward", shifted)
    with pytest.raises(ValueError, match="LlamaForCausalLM makes more of its head's output"):
        CausalLM(model)


def test_reading_leaves_the_models_own_attention_in_place() -> None:
    model = model_of("llama")
    before = model.config._attn_implementation
    lm = CausalLM(model)
    assert model.config._attn_implementation == before
    with pytest.raises(RuntimeError), torch.no_grad():
        lm.hidden_states(dataclasses.replace(example(), tokens_NS=example().tokens_NS.float()))
    assert model.config._attn_implementation == before


def test_a_group_of_one_token_completions() -> None:
    """Nothing but prompts is read: each completion's token is foreseen from its prompt."""
    r = explored("llama", group_size=4, tokens=1)
    assert r.completion_mask_NT.shape[1] == 1
    lm = CausalLM(model_of("llama"))
    packed = Packed.of(r)
    assert packed.length_buckets == [] and len(packed.token_K) == int(r.attention_mask_NS[::4].sum()) - 4
    with torch.no_grad():
        chosen = lm.hidden_states(r)
        close(chosen.scatter(lm.token_logprobs(chosen, 0.8)[0]), r.logp_NT, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- a kernel for varlen rows (CUDA's; here by loops)


def by_loops(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ends_q: torch.Tensor, ends_c: torch.Tensor,
    *_: int, scale: float | None,
) -> torch.Tensor:  # fmt: skip
    """What torch's variable-length attention promises, a sequence after another."""
    out = []
    for a, b, c, d in zip(ends_q.tolist(), ends_q[1:].tolist(), ends_c.tolist(), ends_c[1:].tolist(), strict=False):
        q, k, v = query[a:b].transpose(0, 1), key[c:d].transpose(0, 1), value[c:d].transpose(0, 1)
        scores = q @ k.transpose(1, 2) * (scale or q.shape[-1] ** -0.5)
        later = torch.arange(d - c) > torch.arange(b - a)[:, None] + (d - c) - (b - a)
        out.append((scores.masked_fill(later, -torch.inf).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gemma"])
def test_ragged_rows_are_the_packed_rows(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Grouped heads, completions of one token, rows in any order: the same numbers and gradients."""
    monkeypatch.setattr(attention, "_kernel", by_loops)
    r, lm = explored(kind, torch.float64), CausalLM(model_of(kind, torch.float64))
    for part in (r, r.take(torch.arange(len(r.group_N)).flip(0)), example()):
        lm.varlen = False
        logp_NT, packed = gradients(lm, part, False)
        lm.varlen = True
        found_NT, varlen = gradients(lm, part, False)
        close(found_NT, logp_NT, rtol=0, atol=1e-6)  # transformers' Gemma norms round to fp32
        largest = max(float(g.abs().max()) for g in packed.values())
        for name, g in packed.items():
            close((varlen[name] - g) / largest, torch.zeros_like(g), rtol=0, atol=1e-6)


def test_ragged_rows_by_hand() -> None:
    rows = Packed.of(example(), varlen=True).rows
    assert rows is not None
    assert rows.ends_Q.tolist() == [0, 3, 5, 6, 8] and rows.ends_C.tolist() == [0, 3, 5, 8, 12]
    assert rows.key_C.tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 3, 4, 6, 7] and rows.widest == 4


def test_without_the_kernel_rows_are_packed_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("no flash attention here")

    monkeypatch.setattr(attention, "_kernel", absent)
    model = model_of("llama")
    lm = CausalLM(model)
    assert lm.packs and not lm.varlen
    lm.varlen = True
    r, theirs = lm._trial()
    assert not lm._agrees(r, theirs)
