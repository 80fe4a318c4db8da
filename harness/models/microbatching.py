"""Rows in shares of at most so many packed tokens: what one forward and backward reads."""

from __future__ import annotations

from itertools import groupby

import torch

from algos.core.types import Rollouts
from harness.models.limits import micro_batches


def cut(
    rollouts: Rollouts, rows_N: torch.Tensor, micro_batch_tokens: int, pair_N: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """The rows in shares of at most `micro_batch_tokens` packed tokens, or one unit; none for no rows.

    Groups of like length stand side by side, a group's rows together, since they share their prompt.  A unit's rows,
    which are of one group, are in one share; without `pair_N` each row is a unit.
    """
    if not len(rows_N):
        return []
    prompt_N, length_N = _lengths(rollouts, rows_N)
    group_N = rollouts.group_N[rows_N]
    pair_N = torch.arange(len(rows_N), device=group_N.device) if pair_N is None else pair_N[rows_N]
    order = torch.argsort(length_N, stable=True)
    for owner_N in (pair_N, group_N):
        longest = owner_N.new_zeros(int(owner_N.max()) + 1).scatter_reduce_(0, owner_N, length_N, "amax")
        order = order[torch.argsort(owner_N[order], stable=True)]
        order = order[torch.argsort(longest[owner_N[order]], stable=True)]
    rows = zip(*(x[order].tolist() for x in (pair_N, group_N, prompt_N, length_N)), strict=True)
    units = [list(unit) for _, unit in groupby(enumerate(rows), key=lambda row: row[1][0])]
    sizes = [(unit[0][1][1], unit[0][1][2], sum(length - 1 for _, (*_, length) in unit)) for unit in units]
    batches = [[i for unit in batch for i, _ in units[unit]] for batch in micro_batches(sizes, micro_batch_tokens)]
    return [rows_N[order[torch.tensor(batch, device=order.device)]] for batch in reversed(batches)]


def _lengths(rollouts: Rollouts, rows_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of each row's prompt and completion, as they are read."""
    attention_mask_NS, width = rollouts.attention_mask_NS[rows_N], rollouts.completion_mask_NT.shape[1]
    return attention_mask_NS[:, :-width].sum(1), attention_mask_NS[:, -width:].sum(1)
