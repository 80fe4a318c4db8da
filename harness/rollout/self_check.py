"""The first thing a run does: is what it samples from and trains the model that the user gave?

A few prompts of the run are completed by a few tokens, and the log-probabilities of these are read four ways:

    plain         one row at a time, no padding, no cache: the model's own forward, as transformers loads it
    sampler       by the engine that will sample
    trainer       by the reading that will train, a gradient asked for (computed again where layers are checkpointed)
    checkpointed  the gradient of their sum in the embedding, where layers are computed again, against plain's

All in fp32 at least.  Prompts are also as long as it takes to pass every window and every switch of the rotary
embedding that the run's longest sequence can pass.  Where the sampler or the trainer is further than TOLERANCE from
plain, rows are read with padding and decoded by transformers' cache, then without a cache; where that is no better, no
run is possible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from algos import Rollouts
from harness.models.adapters.adapter_set import POLICY
from harness.models.backbone import Backbone, plain_logits, rows_alone, without_checkpointing
from harness.models.policy import LMPolicy
from harness.processes.group import current
from harness.rollout.collate import assembled
from harness.rollout.engine import Decoding, Engine
from harness.rollout.sampler import Sampler, Sampling

TOLERANCE = 1e-3  # nats, and relative for the gradient
NEW_TOKENS = 8
NAMES = ("window", "chunk", "original_max_position")  # in a configuration: where attention or positions change


@dataclass(frozen=True)
class SelfCheck:
    """The largest differences from plain, and what the run had to do about them ("" where nothing)."""

    gaps: dict[str, float]
    notice: str = ""


def self_check(policy: LMPolicy, sampler: Sampler, prompts: Sequence[list[int]], longest: int) -> SelfCheck:
    """Check, and fall back where that helps.  `longest`: tokens of the longest sequence that the run can have.

    It changes no weight, no gradient and no random number of the run.  ValueError, one line, where the model cannot be
    read in rows beside one another.
    """
    switches = [s for s in switch_points(policy.lm.model.config) if s < longest]
    given = check_prompts(prompts, switches, longest)
    first = gaps = _measured(policy, sampler, given)
    for decoding in ("cached", "uncached"):
        if _worst(gaps) <= TOLERANCE:
            break
        _fall_back(policy, sampler, decoding)
        gaps = _measured(policy, sampler, given)
    name = type(policy.lm.model).__name__
    if _worst(gaps) > TOLERANCE:
        where = f" of up to {max(map(len, given)) + NEW_TOKENS} tokens"
        passed = (
            f"; it changes at {_listed(switches)} tokens: keep sequences shorter (--max-new-tokens)" if switches else ""
        )
        raise ValueError(
            f"model: {name} gives other log-probabilities to rows{where} beside one another than to each alone "
            f"(by {_worst(gaps):.2g} nats){passed}"
        )
    if gaps is first and policy.lm.packs:
        return SelfCheck(gaps)
    why = f": packed, log-probabilities were {_worst(first):.2g} nats off" if gaps is not first else ""
    kept = "transformers' cache" if sampler.engine.decoding == "cached" else "no cache"
    return SelfCheck(gaps, f"model: {name} is read in padded rows, with {kept}: slower{why}")


def switch_points(config: Any) -> list[int]:
    """Numbers of tokens after which a model reads otherwise: windows, chunks, the switch of a rotary embedding.

    By the names of its configuration's fields, nested ones too, so that a new architecture's are found as well.

    >>> switch_points({"sliding_window": 8, "rope_scaling": {"original_max_position_embeddings": 16}, "vocab_size": 30})
    [8, 16]
    """
    fields = config if isinstance(config, dict) else config.to_dict()
    found = set[int]()
    for name, value in fields.items():
        if isinstance(value, dict):
            found |= set(switch_points(value))
        elif isinstance(value, int) and not isinstance(value, bool) and value > 1 and any(n in name for n in NAMES):
            found.add(value)
    return sorted(found)


def check_prompts(prompts: Sequence[list[int]], switches: Sequence[int], longest: int) -> list[list[int]]:
    """The shortest, the middle and the longest prompt; and, for each switch, one that passes it and one whose
    completion does, of the same text again and again."""
    by_length = sorted(prompts, key=len)
    chosen = [by_length[0], by_length[len(by_length) // 2], by_length[-1]]
    text = [token for prompt in chosen for token in prompt]
    room = longest - NEW_TOKENS
    for switch in switches:
        for length in {min(room, switch + NEW_TOKENS), switch - NEW_TOKENS // 2}:
            if length > 0:
                chosen.append((text * math.ceil(length / len(text)))[:length])
    return chosen


def _measured(policy: LMPolicy, sampler: Sampler, prompts: list[list[int]]) -> dict[str, float]:
    with _full_precision(policy, sampler):
        rollouts = _sampled(sampler, prompts)
        plain_M = _plain(policy.lm.model, rollouts)
        chosen = policy.lm.hidden_states(rollouts)
        logp_M, _ = policy.lm.token_logprobs(chosen, 1.0)
        gaps = {
            "sampler": _apart(rollouts.logp_NT[rollouts.completion_mask_NT], plain_M),
            "trainer": _apart(logp_M.detach(), plain_M),
        }
        gaps = {name: max(current().gather(gap)) for name, gap in gaps.items()}  # all ranks decide alike
        if policy.checkpointed and not policy.shards:  # a gradient of shares begins in the policy's own pass
            gaps["checkpointed_gradient"] = _gradient_apart(policy, rollouts, logp_M)
    return gaps


def _sampled(sampler: Sampler, prompts: list[list[int]]) -> Rollouts:
    """Two completions of each prompt at temperature 1; peaks of memory are not the run's."""
    peak = sampler.peak_cache_bytes
    done = sampler(prompts, 2, Sampling(1.0, NEW_TOKENS, 0, "self-check", tools=False))
    sampler.peak_cache_bytes = peak
    return assembled(prompts, done, 2, sampler.pad)


@torch.inference_mode()
def _plain(model: Any, rollouts: Rollouts) -> Tensor:
    """log pi of each chosen token by the model's own forward, row by row."""
    return torch.cat([_row_logp(model, row, places, targets) for row, places, targets in _rows(rollouts)])


def _rows(rollouts: Rollouts) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for row, places in rows_alone(rollouts):
        yield row, places, row[places + 1]


def _row_logp(model: Any, row: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    logits = plain_logits(model, row, places)
    logp = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)
    return logp.gather(1, targets[:, None])[:, 0]


def _gradient_apart(policy: LMPolicy, rollouts: Rollouts, logp_M: Tensor) -> float:
    """|g - g_plain| / |g_plain| of the sum of log-probabilities in the input embedding; in the adapter, where the rest
    is frozen."""
    weights = [policy.lm.model.get_input_embeddings().weight]
    if policy.adapters is not None:
        weights = policy.adapters.parameters(POLICY)
    if not weights[0].requires_grad:
        return 0.0
    ours = torch.autograd.grad(logp_M.sum(), weights)
    plain = [torch.zeros_like(weight) for weight in weights]
    with without_checkpointing():
        for row, places, targets in _rows(rollouts):
            own = torch.autograd.grad(_row_logp(policy.lm.model, row, places, targets).sum(), weights)
            plain = [a + b for a, b in zip(plain, own, strict=True)]
    apart = torch.stack([(a - b).norm() for a, b in zip(ours, plain, strict=True)]).norm()
    return float(apart / torch.stack([g.norm() for g in plain]).norm().clamp(min=1e-12))


def _apart(x_M: Tensor, plain_M: Tensor) -> float:
    gap = (x_M - plain_M).abs().max()
    return float(gap) if torch.isfinite(gap) else math.inf


def _worst(gaps: dict[str, float]) -> float:
    return max(gaps.values())


def _listed(switches: Sequence[int]) -> str:
    return " and ".join(f"{s:,}" for s in switches)


def _fall_back(policy: LMPolicy, sampler: Sampler, decoding: Decoding) -> None:
    """Every model of the policy's architecture is read with padding from now on."""
    readers: list[Backbone | None] = [policy.lm, policy.critic_trunk, policy.reference_lm]
    for reader in filter(None, readers):
        reader.packs = reader.varlen = False
    sampler.engine.fall_back(decoding)


@contextmanager
def _full_precision(policy: LMPolicy, sampler: Sampler) -> Iterator[None]:
    """Sampler and trainer without autocast, and without what 16 bits alone have: a half-precision copy, a kernel."""
    lm, engine = policy.lm, sampler.engine
    if policy.accelerator.mixed_precision == "no":
        yield
        return
    kept = lm.autocast, lm.varlen
    lm.autocast, lm.varlen = nullcontext, False
    sampler.engine = Engine(engine.model, nullcontext, False, engine.critic)
    if not lm.packs:
        sampler.engine.fall_back(engine.decoding)
    try:
        yield
    finally:
        lm.autocast, lm.varlen = kept
        sampler.engine = engine
