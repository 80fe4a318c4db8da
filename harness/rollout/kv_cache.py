"""Keys and values of a decode, laid out beforehand: a prompt's once for its group, each completion's own beside them.

A row's query looks at its prompt's keys and at its own.  The first look is taken by all rows of a group together, over
one copy of the prompt: rows stand on a grid of (prompt, place in the group) for it.  The second is a row's alone.  One
softmax joins the two.  `static`: memory is taken whole at the start and never moves, so that a captured CUDA graph may
write into it; otherwise it doubles as the completions grow, and shrinks as rows end.

Shapes: P prompts, G places in a group, B rows, K key heads, F queries that share a key head, L the longest prompt,
C own columns, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.models.attention import AttentionParams
from harness.models.limits import INITIAL_COLUMNS
from harness.models.packing import Packed

NAIVE = 400  # torch multiplies matrices of fewer multiplications than this by a plain loop, three times slower


class Prefill:
    """The layout of a pass over prompts alone; keeps what a cache begins with."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}  # by layer: keys and values, (P, K, L, D)

    @property
    def wide(self) -> int:
        """L, the longest prompt."""
        return self.packed.prompts.cell_RC.shape[1]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, params: AttentionParams) -> Tensor:
        spread = self.packed.prompts.spread
        self.kept[layer] = tuple(spread(x[0].transpose(0, 1)).transpose(1, 2).contiguous() for x in (key, value))  # type: ignore[assignment]
        return self.packed.attend(layer, query, key, value, params)


class Cache:
    """Keys and values of B rows, and the attention of one new token a row."""

    def __init__(self, prefill: Prefill, owner_B: Tensor, horizon: int, columns: int = 0) -> None:
        """`owner_B` is the prompt of each row; `horizon` the most tokens that any row will write; `columns` > 0 makes
        the cache static, and the room for prompts a multiple of it."""
        self.static, self.horizon = columns > 0, horizon
        self.prompt = -(-prefill.wide // columns) * columns if columns else prefill.wide
        self.rows, self.prompts = len(owner_B), len(prefill.packed.length_P)
        self.places = int(torch.bincount(owner_B).max())
        room = horizon if columns else min(INITIAL_COLUMNS, horizon)
        first = next(iter(prefill.kept.values()))[0]
        self.size = first.shape[3]
        self.shared = {
            i: tuple(nn.functional.pad(x, (0, 0, 0, self.prompt - prefill.wide)) for x in kept)
            for i, kept in prefill.kept.items()
        }
        self.own = {i: tuple(_zeros(x, self.rows, room) for x in kept) for i, kept in prefill.kept.items()}
        device = first.device
        self.length_P = torch.zeros(self.prompts, dtype=torch.long, device=device)
        self.owner_B = torch.zeros(self.rows, dtype=torch.long, device=device)
        self.cell_B = torch.zeros(self.rows, dtype=torch.long, device=device)
        self.row_PG = torch.zeros(self.prompts * self.places, dtype=torch.long, device=device)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        self.last, self.width = 0, 0  # the column that is written, and how many a query looks at
        self.hidden: dict[int | None, Tensor] = {}  # this step's masks, by window; every layer asks
        self.refill(prefill, owner_B)
        self.peak_bytes = self.bytes

    def fits(self, prefill: Prefill, owner_B: Tensor, horizon: int) -> bool:
        """May these rows have this memory?"""
        same = len(prefill.packed.length_P) == self.prompts and len(owner_B) == self.rows
        return (
            same
            and prefill.wide <= self.prompt
            and horizon <= self.horizon
            and int(torch.bincount(owner_B).max()) <= self.places
        )

    def refill(self, prefill: Prefill, owner_B: Tensor) -> None:
        """Begin anew with other prompts."""
        self.length_P.copy_(prefill.packed.length_P)
        for layer, held in self.shared.items():
            for mine, theirs in zip(held, prefill.kept[layer], strict=True):
                mine[:, :, : prefill.wide] = theirs
        self._place(owner_B)

    @property
    def bytes(self) -> int:
        """Of keys and values, as they are held."""
        return sum(x.nbytes for held in (self.shared, self.own) for pair in held.values() for x in pair)

    @property
    def room(self) -> int:
        """Own columns that there is memory for."""
        return next(iter(self.own.values()))[0].shape[2]

    def places_B(self, t: int) -> Tensor:
        """The position of every row's t-th own token."""
        return self.length_P[self.owner_B] + t

    def open(self, t: int, width: int | None = None) -> None:
        """Make ready for every row's t-th token.  `width` own columns are looked at (default: as few as can be)."""
        if t >= self.room:
            more = min(self.horizon, max(t + 1, 2 * self.room)) - self.room
            for layer, pair in self.own.items():  # one at a time: at no time are all of them there twice
                wider = tuple(_zeros(x, len(x), x.shape[2] + more) for x in pair)
                for x, y in zip(pair, wider, strict=True):
                    y[:, :, : x.shape[2]] = x
                self.own[layer] = wider
            self.peak_bytes = max(self.peak_bytes, self.bytes)
        self.last = t
        self.column.fill_(t)
        self.width = width or min(self.room, max(t + 1, -(-NAIVE // self.size)))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, params: AttentionParams) -> Tensor:
        """(B, heads, 1, D), (B, K, 1, D) twice -> (B, 1, heads, D)."""
        rows, heads, _, size = query.shape
        own_k, own_v = (x[:rows] for x in self.own[layer])
        if self.static:  # a graph must find the column in memory
            own_k.index_copy_(2, self.column, key)
            own_v.index_copy_(2, self.column, value)
        else:
            own_k[:, :, self.last : self.last + 1], own_v[:, :, self.last : self.last + 1] = key, value
        own_k, own_v = own_k[:, :, : self.width], own_v[:, :, : self.width]
        shared_k, shared_v = self.shared[layer]
        scale = params.scale if params.scale is not None else size**-0.5
        q_BKFD = query.reshape(rows, key.shape[1], -1, size)
        left = self._rows(_scores(self._grid(q_BKFD), shared_k), rows)
        scores = torch.cat([left, _scores(q_BKFD, own_k)], 3).mul_(scale)
        if params.softcap is not None:
            scores = params.softcap * torch.tanh(scores / params.softcap)
        if params.window not in self.hidden:
            self.hidden[params.window] = self._hidden(rows, params.window)
        p = torch.softmax(
            scores.masked_fill_(self.hidden[params.window], -torch.inf),
            -1,
            dtype=torch.promote_types(scores.dtype, torch.float32),
        ).to(value.dtype)
        from_prompt = self._rows(self._grid(p[..., : self.prompt]) @ shared_v, rows)
        return (from_prompt + p[..., self.prompt :] @ own_v).reshape(rows, 1, heads, size)

    def select(self, rows: Tensor) -> None:
        """Keep these rows alone, in this order."""
        for layer, pair in self.own.items():
            chosen = tuple(x.index_select(0, rows) for x in pair)
            if self.static:
                for x, y in zip(pair, chosen, strict=True):
                    x[: len(rows)] = y
            else:
                self.own[layer] = chosen
        self._place(self.owner_B[rows])

    def _place(self, owner_B: Tensor) -> None:
        """Stand the rows on the grid: each in the next free place of its prompt."""
        rows = torch.arange(len(owner_B), device=owner_B.device)
        order = torch.argsort(owner_B, stable=True)
        count_P = torch.bincount(owner_B, minlength=self.prompts)
        rank = rows - (count_P.cumsum(0) - count_P)[owner_B[order]]
        cell_B = torch.empty_like(owner_B).scatter_(0, order, owner_B[order] * self.places + rank)
        if self.static:
            self.cell_B[: len(rows)], self.owner_B[: len(rows)] = cell_B, owner_B
            self.row_PG.zero_()
        else:
            self.owner_B, self.places = owner_B, int(count_P.max())
            self.cell_B = torch.empty_like(owner_B).scatter_(0, order, owner_B[order] * self.places + rank)
            self.row_PG = self.row_PG.new_zeros(self.prompts * self.places)
            cell_B = self.cell_B
        self.row_PG[cell_B] = rows

    def _grid(self, x_BKFC: Tensor) -> Tensor:
        """Rows on the grid: (P, K, G F, .)."""
        _, heads, fold, size = x_BKFC.shape
        x = (
            x_BKFC.reshape(len(x_BKFC), -1)
            .index_select(0, self.row_PG)
            .view(self.prompts, self.places, heads, fold, size)
        )
        return x.transpose(1, 2).reshape(self.prompts, heads, self.places * fold, size)

    def _rows(self, x_PKGC: Tensor, rows: int) -> Tensor:
        """And back: (B, K, F, .)."""
        prompts, heads, queries, size = x_PKGC.shape
        x = x_PKGC.view(prompts, heads, self.places, -1, size).transpose(1, 2).reshape(prompts * self.places, -1)
        return x.index_select(0, self.cell_B[:rows]).view(rows, heads, queries // self.places, size)

    def _hidden(self, rows: int, window: int | None) -> Tensor:
        """(B, 1, 1, L + width): columns that hold no token by now, or one further back than the window."""
        left, own = (torch.arange(n, device=self.column.device) for n in (self.prompt, self.width))
        length_B1 = self.length_P[self.owner_B[:rows]][:, None]
        back = torch.cat([length_B1 + self.column - left, (self.column - own).expand(rows, -1)], 1)
        there = torch.cat([left < length_B1, (own <= self.column).expand(rows, -1)], 1)
        return (~there if window is None else ~there | (back >= window))[:, None, None]


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """q k', in fp32 at least: of two large scores, 16 bits would keep no difference that softmax feels."""
    if query.dtype.itemsize > 2:
        return query @ key.transpose(2, 3)
    with torch.autocast(query.device.type, enabled=False):
        if not query.is_cuda:
            return query.float() @ key.float().transpose(2, 3)
        q, k = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
        return torch.bmm(q, k, out_dtype=torch.float32).view(*query.shape[:3], -1)


def _zeros(like: Tensor, rows: int, columns: int) -> Tensor:
    """Own columns.  Zeros, because columns are looked at before they are written: what is masked must be finite."""
    return like.new_zeros(rows, like.shape[1], columns, like.shape[3])
