"""Rows in shares of at most so many packed tokens: what one forward and backward reads; and, of several processes, each
one's part of the rows."""

from __future__ import annotations

from itertools import groupby

import torch

from algos.core.types import Rollouts
from harness.models.limits import micro_batches
from harness.processes.group import balanced, current

Unit = tuple[int, int, int]  # group, prompt tokens, completion tokens as they are packed


def cut(
    rollouts: Rollouts, rows_N: torch.Tensor, micro_batch_tokens: int, pair_N: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """The rows in shares of at most `micro_batch_tokens` packed tokens, or one unit; none for no rows.

    Groups of like length stand side by side, a group's rows together, since they share their prompt.  A unit's rows,
    which are of one group, are in one share; without `pair_N` each row is a unit.
    """
    if not len(rows_N):
        return []
    rows, sizes = _units(rollouts, rows_N, pair_N)
    batches = [[row for unit in batch for row in rows[unit]] for batch in micro_batches(sizes, micro_batch_tokens)]
    return [rows_N[torch.tensor(batch, device=rows_N.device)] for batch in reversed(batches)]


def own(rollouts: Rollouts, rows_N: torch.Tensor, pair_N: torch.Tensor | None = None) -> torch.Tensor:
    """Those of the rows that this process reads: a stretch of near to equal tokens of the order in which they are cut,
    so that a group is with one process, or with neighbours.  All of them, where there is one process."""
    group = current()
    if group.size == 1 or not len(rows_N):
        return rows_N
    rows, sizes = _units(rollouts, rows_N, pair_N)
    before = [-1, *(owner for owner, _, _ in sizes)]  # a group's prompt is read once
    costs = [own + (prompt if owner != last else 0) for (owner, prompt, own), last in zip(sizes, before, strict=False)]
    mine = balanced(costs, group.size)[group.rank]
    chosen = sorted(row for unit in rows[mine] for row in unit)
    return rows_N[torch.tensor(chosen, dtype=torch.long, device=rows_N.device)]


def _units(rollouts: Rollouts, rows_N: torch.Tensor, pair_N: torch.Tensor | None) -> tuple[list[list[int]], list[Unit]]:
    """Places in `rows_N` of each unit, in the order in which they are cut, and the units' sizes."""
    prompt_N, length_N = _lengths(rollouts, rows_N)
    group_N = rollouts.group_N[rows_N]
    pair_N = torch.arange(len(rows_N), device=group_N.device) if pair_N is None else pair_N[rows_N]
    order = torch.argsort(length_N, stable=True)
    for owner_N in (pair_N, group_N):
        longest = owner_N.new_zeros(int(owner_N.max()) + 1).scatter_reduce_(0, owner_N, length_N, "amax")
        order = order[torch.argsort(owner_N[order], stable=True)]
        order = order[torch.argsort(longest[owner_N[order]], stable=True)]
    places = torch.arange(len(order), device=order.device)
    rows = zip(*(x[order].tolist() for x in (places, pair_N, group_N, prompt_N, length_N)), strict=True)
    units = [list(unit) for _, unit in groupby(rows, key=lambda row: row[1])]
    sizes = [(unit[0][2], unit[0][3], sum(length - 1 for *_, length in unit)) for unit in units]
    return [[place for place, *_ in unit] for unit in units], sizes


def _lengths(rollouts: Rollouts, rows_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of each row's prompt and completion, as they are read."""
    attention_mask_NS, width = rollouts.attention_mask_NS[rows_N], rollouts.completion_mask_NT.shape[1]
    return attention_mask_NS[:, :-width].sum(1), attention_mask_NS[:, -width:].sum(1)
