"""Prompts once per group and completions once each, end to end in one row, without padding.

A batch of N completions of p tokens' prompt and r tokens each is read as p + N (r - 1) tokens instead of N (p + r): the
prompt is shared by its group, nothing is padded, and a completion's last token foresees nothing.  Position ids and
attention see to it that every completion sees its own prompt and itself, so that states, and gradients, are
those of the padded pass.

Shapes: P prompts, N completions, T completion columns, K packed tokens (prompts first), M completion tokens that the
policy chose (mask_NT), L and R the longest prompt and the longest completion less one, H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from algos import Rollouts
from harness.models import attention
from harness.models.attention import AttentionParams

WIDER = 1.5  # attention pads completions to at most so many times the shortest beside them


@dataclass(frozen=True)
class PaddedView:
    """Some packed tokens as a padded grid of rows, and the way back.  Every token is in exactly one cell."""

    cell_RC: Tensor  # the packed token of each cell; 0 in padding
    flat_K: Tensor  # the cell of each of these tokens, in their order

    @classmethod
    def of(cls, length_R: Tensor, start: Tensor | int) -> PaddedView:
        """Rows of these lengths, whose tokens follow one another from `start` on."""
        column = torch.arange(int(length_R.max()), device=length_R.device)
        real_RC = column < length_R[:, None]
        cell_RC = (start + length_R.cumsum(0) - length_R)[:, None] + column
        return cls(torch.where(real_RC, cell_RC, 0), real_RC.flatten().nonzero()[:, 0])

    def spread(self, x_KHD: Tensor) -> Tensor:
        """(rows, columns, H, D).  Padding holds some token's values, which no one may look at."""
        return x_KHD.index_select(0, self.cell_RC.flatten()).view(*self.cell_RC.shape, *x_KHD.shape[1:])

    def collect(self, x_RCHD: Tensor) -> Tensor:
        """These tokens alone, in their order."""
        return x_RCHD.flatten(0, 1).index_select(0, self.flat_K)


@dataclass(frozen=True)
class Packed:
    """A batch of rollouts, packed; also the layout of its attention.

    Two completions [8, 9] and [7, 7, 7] of one prompt [5, 6]:
    token_K [5, 6, 8, 7, 7], position_K [0, 1, 2, 2, 3], state_M [1, 2, 1, 3, 4], target_M [8, 9, 7, 7, 7].
    Completions stand in ascending order of length, so that attention can pad like beside like.
    """

    token_K: Tensor
    position_K: Tensor
    state_M: Tensor  # the packed token whose state foresees each chosen token
    target_M: Tensor
    prompts: PaddedView
    length_buckets: list[tuple[Tensor, PaddedView]]  # completions of like length: the prompt of each, and its tokens
    length_P: Tensor
    rows: VarlenRows | None = None  # how a kernel for varlen rows sees them
    masks: dict[int | None, list[Tensor]] = field(default_factory=dict)  # by window; every layer asks

    @classmethod
    def of(cls, r: Rollouts, varlen: bool = False) -> Packed:
        """A completion of one token has no token of its own in the pack.  `varlen`: for the kernel of that name."""
        width = r.completion_mask_NT.shape[1]
        left_NS, right_NT = r.tokens_NS[:, :-width], r.tokens_NS[:, -width:]
        owner_N, first_P = _owners(r.group_N)
        attend_PL = r.attention_mask_NS[first_P, :-width]
        length_P = attend_PL.sum(1)
        length_N, order_N = torch.sort((r.attention_mask_NS[:, -width:].sum(1) - 1).clamp(min=0), stable=True)
        own_NT = torch.arange(width, device=length_N.device) < length_N[:, None]
        start_N = length_P.sum() + length_N.cumsum(0) - length_N
        state_NT = torch.empty_like(right_NT)
        state_NT[order_N] = start_N[:, None] + torch.arange(-1, width - 1, device=length_N.device)
        state_NT[:, 0] = (length_P.cumsum(0) - 1)[owner_N]
        owner_N = owner_N[order_N]
        places_NT = length_P[owner_N][:, None] + torch.arange(width, device=length_N.device)
        return cls(
            token_K=torch.cat([left_NS[first_P][attend_PL], right_NT[order_N][own_NT]]),
            position_K=torch.cat([(attend_PL.cumsum(1) - 1)[attend_PL], places_NT[own_NT]]),
            state_M=state_NT[r.completion_mask_NT],
            target_M=right_NT[r.completion_mask_NT],
            prompts=PaddedView.of(length_P, 0),
            length_buckets=[
                (owner_N[a:b], PaddedView.of(length_N[a:b], start_N[a])) for a, b in _length_buckets(length_N.tolist())
            ],
            length_P=length_P,
            rows=VarlenRows.of(length_P, owner_N, length_N) if varlen else None,
        )

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, params: AttentionParams) -> Tensor:
        """Prompts see themselves; completions their prompt and themselves.  (1, heads, K, D) -> (1, K, heads, D)."""
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # (K, heads, D): as they lie in memory
        if self.rows is not None:
            return self.rows.attend(q, k, v, params)[None]
        if params.window not in self.masks:
            self.masks[params.window] = [
                self._prompt_mask(params.window),
                *(self._mask(*b, params.window) for b in self.length_buckets),
            ]
        mask_P, *masks = self.masks[params.window]
        k_P, v_P = self.prompts.spread(k), self.prompts.spread(v)
        attended = [_among(self.prompts, q, k_P, v_P, mask_P, params)]
        for (owner_N, grid), mask in zip(self.length_buckets, masks, strict=True):
            k_N = torch.cat([k_P.index_select(0, owner_N), grid.spread(k)], 1)
            v_N = torch.cat([v_P.index_select(0, owner_N), grid.spread(v)], 1)
            attended.append(_among(grid, q, k_N, v_N, mask, params))
        return torch.cat(attended)[None]

    def _prompt_mask(self, window: int | None) -> Tensor:
        """(P, 1, L, L)."""
        place = torch.arange(self.prompts.cell_RC.shape[1], device=self.length_P.device)
        return _near(place[:, None] - place, window).expand(len(self.length_P), 1, -1, -1)

    def _mask(self, owner_N: Tensor, grid: PaddedView, window: int | None) -> Tensor:
        """(N, 1, R, L + R): the prompt's tokens that there are, then one's own up to oneself."""
        prompt_N = self.length_P[owner_N][:, None, None, None]
        wide, long = self.prompts.cell_RC.shape[1], grid.cell_RC.shape[1]
        left, own = (torch.arange(n, device=prompt_N.device) for n in (wide, long))
        to_prompt = _near(prompt_N + own[:, None] - left, window) & (left < prompt_N)
        to_itself = _near(own[:, None] - own, window).expand(len(prompt_N), 1, -1, -1)
        return torch.cat([to_prompt, to_itself], 3)


@dataclass(frozen=True)
class VarlenRows:
    """The packed tokens as sequences end to end: prompts see themselves, completions their prompt and themselves."""

    ends_Q: Tensor
    ends_C: Tensor
    key_C: Tensor  # the packed token of each key
    widest: int

    @classmethod
    def of(cls, length_P: Tensor, owner_N: Tensor, length_N: Tensor) -> VarlenRows:
        """Completions without a token of their own ask nothing, and are left out."""
        owner_N, length_N = owner_N[length_N > 0], length_N[length_N > 0]
        prompt_N = length_P[owner_N]
        ends_Q, ends_C = (_ends(torch.cat([length_P, n])) for n in (length_N, prompt_N + length_N))
        sequence_C = torch.repeat_interleave(ends_C.diff())
        place_C = torch.arange(len(sequence_C), device=ends_C.device) - ends_C[sequence_C]
        from_P = torch.cat([_ends(length_P)[:-1], _ends(length_P)[owner_N]])[sequence_C] + place_C
        shared_C = torch.cat([length_P, prompt_N])[sequence_C]
        own_C = ends_Q[sequence_C] + place_C - shared_C
        widest = int(ends_C.diff().max())
        return cls(ends_Q, ends_C, torch.where(place_C < shared_C, from_P, own_C), widest)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, params: AttentionParams) -> Tensor:
        """(K, heads, D) thrice -> (K, H, D)."""
        k, v = (x.index_select(0, self.key_C) for x in (k, v))
        return attention.varlen(q, k, v, self.ends_Q, self.ends_C, self.widest, params)


def _ends(length: Tensor) -> Tensor:
    """[0, n1, n1 + n2, ...]."""
    return torch.nn.functional.pad(length.cumsum(0), (1, 0))


def _among(
    grid: PaddedView, q_KHD: Tensor, k_RCHD: Tensor, v_RCHD: Tensor, mask: Tensor, params: AttentionParams
) -> Tensor:
    """The grid's tokens among keys that are laid out by its rows.  (its tokens, H, D)."""
    q, k, v = (x.transpose(1, 2) for x in (grid.spread(q_KHD), k_RCHD, v_RCHD))
    return grid.collect(attention.attention(q, k, v, mask, params).transpose(1, 2))


def _near(distance: Tensor, window: int | None) -> Tensor:
    """Which keys, `distance` tokens back, a query sees."""
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def _owners(group_N: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's place among the groups there are, and each group's first row."""
    groups_P, owner_N = torch.unique(group_N, return_inverse=True)
    rows_N = torch.arange(len(group_N), device=group_N.device)
    first_P = torch.full_like(groups_P, len(group_N)).scatter_reduce_(0, owner_N, rows_N, "amin")
    return owner_N, first_P


def _length_buckets(lengths: list[int]) -> list[tuple[int, int]]:
    """Ascending lengths -> stretches from..to whose longest is at most WIDER times their shortest; no empty rows.

    >>> _length_buckets([0, 4, 5, 9, 9])
    [(1, 3), (3, 5)]
    """
    stretches: list[tuple[int, int]] = []
    for row, length in enumerate(lengths):
        if length == 0:
            continue
        if stretches and length <= WIDER * lengths[stretches[-1][0]]:
            stretches[-1] = stretches[-1][0], row + 1
        else:
            stretches.append((row, row + 1))
    return stretches
