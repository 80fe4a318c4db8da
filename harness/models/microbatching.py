"""Rows in shares of at most so many packed tokens: what one forward and backward reads."""

from __future__ import annotations

from itertools import groupby

import torch

from algos.core.types import Rollouts


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
