"""A round -> its updates -> their micro-batches, which carry the totals of the whole update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from algos.core.types import Batch, Credit, Rollouts, Schedule, Totals
from harness.models.microbatching import cut, own
from harness.rollout.rng import permutation


def updates(
    rollouts: Rollouts,
    credit: Credit,
    schedule: Schedule,
    token_limit: int,
    micro_batch_tokens: int,
    seed: int,
    ordinal: int,
) -> Iterator[list[Batch]]:
    """For each update of the round, its micro-batches.

    Groups stay whole; with several minibatches they are dealt out in an order that depends on
    (seed, ordinal of the round's first prompt, epoch) alone.  An update in which no completion is kept has
    one micro-batch of one masked row, so that a round with nothing to train still takes its step.
    """
    groups = int(rollouts.group_N.max()) + 1
    for epoch in range(schedule.epochs):
        for part in deal(groups, schedule.minibatches, seed, ordinal, epoch):
            yield split(rollouts, credit, part, token_limit, micro_batch_tokens)


def deal(groups: int, minibatches: int, seed: int, ordinal: int, epoch: int) -> tuple[torch.Tensor, ...]:
    """The groups of each update of one pass."""
    order = torch.arange(groups)
    if minibatches > 1:
        order = torch.from_numpy(permutation(seed, f"minibatches/{ordinal}", epoch, groups))
    return order.tensor_split(minibatches)


def split(
    rollouts: Rollouts, credit: Credit, part: torch.Tensor, token_limit: int, micro_batch_tokens: int
) -> list[Batch]:
    """The update on the groups `part`, in micro-batches of at most `micro_batch_tokens` tokens (or one unit).

    The longest come first: if memory does not suffice, it shows at once.  Rows without a gradient come last, together.
    Of several processes each has micro-batches of its own share of the rows, with the totals of all; where its share is
    empty, one without rows.
    """
    member_N = torch.isin(rollouts.group_N, part.to(rollouts.group_N.device))
    kept = (member_N & credit.keep_N).nonzero()[:, 0]
    totals = Totals(len(kept), int(rollouts.completion_mask_NT[kept].sum()), token_limit)
    if len(kept) == 0:  # an empty share: every sum in it is over nothing
        first = torch.zeros(1, dtype=torch.long, device=member_N.device)
        nothing = rollouts.take(first)
        nothing = replace(nothing, completion_mask_NT=torch.zeros_like(nothing.completion_mask_NT))
        return [Batch(nothing, credit.take(first), totals)]
    still = torch.zeros_like(kept, dtype=torch.bool) if credit.zero_gradient_N is None else credit.zero_gradient_N[kept]
    live, inert = (own(rollouts, kept[which], credit.pair_N) for which in (~still, still))
    shares = [(rows, False) for rows in cut(rollouts, live, micro_batch_tokens, credit.pair_N)]
    shares += [(inert, True)] if len(inert) else []
    if not shares:
        return [Batch(rollouts.take(kept[:0]), credit.take(kept[:0]), totals)]
    return [Batch(*trim(rollouts.take(rows), credit.take(rows)), totals, idle) for rows, idle in shares]


def trim(rollouts: Rollouts, credit: Credit) -> tuple[Rollouts, Credit]:
    """Cut the columns that are padding in every row: on the prompts' left, and on the completions' right."""
    prompt = rollouts.tokens_NS.shape[1] - rollouts.completion_mask_NT.shape[1]
    used = rollouts.attention_mask_NS.any(0).nonzero()[:, 0]
    left, right = int(used[0]), max(int(used[-1]) + 1, prompt + 1)
    left = min(left, prompt - 1)  # the token before the completion predicts its first
    whole = {name: getattr(rollouts, name)[:, left:right] for name in ("tokens_NS", "attention_mask_NS")}
    cut = slice(0, right - prompt)

    def columns(rows: Rollouts | Credit) -> dict[str, Any]:
        return {k: v[:, cut] for k, v in vars(rows).items() if k.endswith("_NT") and v is not None}

    return replace(rollouts, **whole, **columns(rollouts)), replace(credit, **columns(credit))
