"""A round -> its updates -> their micro-batches, which carry the totals of the whole update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch

from algos.types import Batch, Credit, Rollouts, Schedule, Totals
from harness.noise import permutation


def updates(
    rollouts: Rollouts, credit: Credit, schedule: Schedule, horizon: int, micro_tokens: int, seed: int, ordinal: int
) -> Iterator[list[Batch]]:
    """For each update of the round, its micro-batches.

    Groups stay whole; with several minibatches they are dealt out in an order that depends on
    (seed, ordinal of the round's first prompt, epoch) alone.  An update in which no completion is kept has
    one micro-batch of one masked row, so that a round with nothing to train still takes its step.
    """
    groups = int(rollouts.group_N.max()) + 1
    for epoch in range(schedule.epochs):
        for part in deal(groups, schedule.minibatches, seed, ordinal, epoch):
            yield split(rollouts, credit, part, horizon, micro_tokens)


def deal(groups: int, minibatches: int, seed: int, ordinal: int, epoch: int) -> tuple[torch.Tensor, ...]:
    """The groups of each update of one pass."""
    order = torch.arange(groups)
    if minibatches > 1:
        order = torch.from_numpy(permutation(seed, f"minibatches/{ordinal}", epoch, groups))
    return order.tensor_split(minibatches)


def split(rollouts: Rollouts, credit: Credit, part: torch.Tensor, horizon: int, micro_tokens: int) -> list[Batch]:
    """The update on the groups `part`, in micro-batches of at most `micro_tokens` tokens (or one unit).

    The longest come first: if memory does not suffice, it shows at once.  Rows without a gradient come last, together.
    """
    member_N = torch.isin(rollouts.group_N, part.to(rollouts.group_N.device))
    kept = (member_N & credit.keep_N).nonzero()[:, 0]
    totals = Totals(len(kept), int(rollouts.mask_NT[kept].sum()), horizon)
    if len(kept) == 0:  # an empty share: every sum in it is over nothing
        first = torch.zeros(1, dtype=torch.long, device=member_N.device)
        nothing = rollouts.take(first)
        nothing = replace(nothing, mask_NT=torch.zeros_like(nothing.mask_NT))
        return [Batch(nothing, credit.take(first), totals)]
    still = torch.zeros_like(kept, dtype=torch.bool) if credit.inert_N is None else credit.inert_N[kept]
    shares = [(rows, False) for rows in cut(rollouts, kept[~still], micro_tokens, credit.unit_N)]
    shares += [(kept[still], True)] if still.any() else []
    return [Batch(*trim(rollouts.take(rows), credit.take(rows)), totals, inert) for rows, inert in shares]


def cut(
    rollouts: Rollouts, rows_N: torch.Tensor, micro_tokens: int, unit_N: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """The rows in shares of at most `micro_tokens` packed tokens, or one unit; none for no rows.

    Groups of like length stand side by side, a group's rows together, since they share their prompt.  A unit's rows,
    which are of one group, are in one share; without `unit_N` each row is a unit.
    """
    if not len(rows_N):
        return []
    prompt_N, length_N = _lengths(rollouts, rows_N)
    group_N = rollouts.group_N[rows_N]
    unit_N = torch.arange(len(rows_N), device=group_N.device) if unit_N is None else unit_N[rows_N]
    order = torch.argsort(length_N, stable=True)
    for owner_N in (unit_N, group_N):
        longest = owner_N.new_zeros(int(owner_N.max()) + 1).scatter_reduce_(0, owner_N, length_N, "amax")
        order = order[torch.argsort(owner_N[order], stable=True)]
        order = order[torch.argsort(longest[owner_N[order]], stable=True)]
    rows = zip(*(x[order].tolist() for x in (unit_N, group_N, prompt_N, length_N)), strict=True)
    shares: list[list[int]] = []
    tokens, last = 0, -1
    for _, part in groupby(enumerate(rows), key=lambda row: row[1][0]):
        places, described = zip(*part, strict=True)
        group, prompt, own = described[0][1], described[0][2], sum(length - 1 for *_, length in described)
        cost = own + (prompt if group != last else 0)
        if shares and tokens + cost <= micro_tokens:
            shares[-1] += places
            tokens += cost
        else:
            shares.append([*places])
            tokens = prompt + own
        last = group
    return [rows_N[order[torch.tensor(share, device=order.device)]] for share in reversed(shares)]


def _lengths(rollouts: Rollouts, rows_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of each row's prompt and completion, as they are read."""
    attend_NS, width = rollouts.attend_NS[rows_N], rollouts.mask_NT.shape[1]
    return attend_NS[:, :-width].sum(1), attend_NS[:, -width:].sum(1)


def trim(rollouts: Rollouts, credit: Credit) -> tuple[Rollouts, Credit]:
    """Cut the columns that are padding in every row: on the prompts' left, and on the completions' right."""
    prompt = rollouts.tokens_NS.shape[1] - rollouts.mask_NT.shape[1]
    used = rollouts.attend_NS.any(0).nonzero()[:, 0]
    left, right = int(used[0]), max(int(used[-1]) + 1, prompt + 1)
    left = min(left, prompt - 1)  # the token before the completion predicts its first
    whole = {name: getattr(rollouts, name)[:, left:right] for name in ("tokens_NS", "attend_NS")}
    cut = slice(0, right - prompt)

    def columns(rows: Rollouts | Credit) -> dict[str, Any]:
        return {k: v[:, cut] for k, v in vars(rows).items() if k.endswith("_NT") and v is not None}

    return replace(rollouts, **whole, **columns(rollouts)), replace(credit, **columns(credit))


def join(rounds: Sequence[Rollouts], pad: int) -> Rollouts:
    """Rounds under one another: padded to one width, prompts on the left and completions on the right."""
    prompt = max(r.tokens_NS.shape[1] - r.mask_NT.shape[1] for r in rounds)
    width = max(r.mask_NT.shape[1] for r in rounds)

    def column(name: str) -> torch.Tensor:
        parts = []
        for r in rounds:
            x, right = getattr(r, name), width - r.mask_NT.shape[1]
            left = prompt + r.mask_NT.shape[1] - r.tokens_NS.shape[1]
            if name.endswith(("_NS", "_NT")):
                around = (left if name.endswith("_NS") else 0, right)
                x = torch.nn.functional.pad(x, around, value=pad if name == "tokens_NS" else 0)
            parts.append(x)
        return torch.cat(parts)

    present = [name for name, x in vars(rounds[0]).items() if x is not None]
    return Rollouts(**{name: column(name) for name in present})
