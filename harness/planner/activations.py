"""Memory of one pass over a micro-batch, derived from the tensors that each operation saves for backward.

A pass reads K = P L + N R packed tokens: P prompts of L tokens, and R = T - 1 tokens of each of N completions (the last
one predicts nothing); it predicts M = N T tokens (`harness.models.packing`).  e is the bytes of a number (4; 8 in
fp64), c of one in a matrix product (2 under autocast, otherwise e).  H, A, C, I, V as in `architecture.py`.

A layer keeps, per token (RMS norms, gated MLP):

    norm, twice        e (2 H + 1)   its input, for the square and the product; the normalised input, for its weight
    q, k, v            e H           their common input; under autocast 3 c H: each makes its own copy
    attention          c (2 A + 2 C') + 4 heads, on the grids below: queries, output, keys, values, log-sum-exp
    o                  c A           its input
    gate, up           e H           as q, k, v; under autocast 2 c H
    gate, act, product c 4 I         input of the activation, its output, up's output, their product
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.planner.adapters import Adapter
from harness.planner.architecture import Architecture

PARTS = ("activations", "logits", "casts", "gradients", "optimizer", "kv_cache")


@dataclass(frozen=True)
class Numbers:
    """e and c, in bytes; `casts`: autocast converts e to c; `varlen`: attention uses torch's varlen kernel."""

    master: int = 4
    product: int = 4
    varlen: bool = False

    @property
    def casts(self) -> bool:
        return self.product < self.master


@dataclass(frozen=True)
class Load:
    """One micro-batch with the longest possible rows.

    >>> Load(prompts=1, rows=4, prompt=10, own=21).packed
    90
    """

    prompts: int
    rows: int
    prompt: int  # L
    own: int  # T, tokens of a whole completion

    @property
    def packed(self) -> int:
        """K."""
        return self.prompts * self.prompt + self.rows * (self.own - 1)

    @property
    def chosen(self) -> int:
        """M."""
        return self.rows * self.own

    @property
    def completion_queries(self) -> int:
        """Queries of the completions, N R."""
        return self.rows * (self.own - 1)

    @property
    def completion_keys(self) -> int:
        """Keys that completions attend to, N (L + R)."""
        return self.rows * (self.prompt + self.own - 1) if self.own > 1 else 0

    @property
    def pairs(self) -> int:
        """Entries of the completions' masks, N R (L + R)."""
        return (self.own - 1) * self.completion_keys


@dataclass(frozen=True)
class Snapshot:
    """Bytes held at one point in time, beyond what is held through the whole phase."""

    name: str
    activations: float = 0.0
    logits: float = 0.0
    casts: float = 0.0  # 16-bit copies of weights
    gradients: float = 0.0
    optimizer: float = 0.0
    kv_cache: float = 0.0

    @property
    def bytes(self) -> float:
        return float(sum(getattr(self, name) for name in PARTS))

    def over(self, base: Snapshot) -> Snapshot:
        """This snapshot, with `base` held as well."""
        sums = {name: getattr(self, name) + getattr(base, name) for name in PARTS}
        return replace(self, **sums)


@dataclass(frozen=True)
class Layer:
    """Bytes that one layer keeps, and that its backward pass needs beyond that."""

    entry: float  # its input: all that a checkpointed layer keeps
    attention: float  # kept up to the output projection, `entry` included
    mlp: float  # kept from there on
    forward_rise: float  # above what is kept up to there, while attention is computed
    attention_rise: float  # above what is kept up to there, at the attention's gradient
    down_rise: float  # above all that is kept, at the down projection's gradient
    mlp_rise: float  # at the product's
    weight: float  # gradient of its largest matrix

    @property
    def kept(self) -> float:
        return self.attention + self.mlp

    @classmethod
    def of(cls, a: Architecture, load: Load, n: Numbers, adapter: Adapter | None = None) -> Layer:
        """With an `adapter` its base keeps no input of its own: norms have no gradient of their weights, matrices none
        of theirs."""
        if adapter is not None:
            return cls._frozen(a, load, n, adapter)
        e, c, K, H = n.master, n.product, load.packed, a.hidden
        norm = e * K * (2 * H + 1) if a.family.scaled else e * K * (H + 2)
        reads = 1 if a.family.fused or not n.casts else 3
        entered = c * K * H * reads
        between = _head_norms(a, K, n) if a.family.head_norms else 0
        grids, grids_rise = attention_cells(a, load, n)
        out = 0 if n.varlen else c * K * a.attended  # the varlen kernel's output is the projection's input
        into = c * K * H * (2 if n.casts and a.family.gated else 1)
        inner = c * K * a.inner * (4 if a.family.gated else 2 + a.family.wide)
        return cls(
            entry=e * K * H,
            attention=norm + entered + between + grids + out,
            mlp=norm + into + inner,
            forward_rise=attention_forward(a, load, n),
            attention_rise=e * K * H + c * K * a.attended + grids_rise - out,
            down_rise=e * K * H + c * K * (a.inner + (H if n.casts else 0)),
            mlp_rise=e * K * H + 2 * c * K * a.inner,
            weight=e * H * a.inner,
        )

    @classmethod
    def _frozen(cls, a: Architecture, load: Load, n: Numbers, adapter: Adapter) -> Layer:
        """W x + s B A x: x where an adapter reads it (under autocast a copy for each), A x, and nothing for W."""
        e, c, K, H = n.master, n.product, load.packed, a.hidden
        norm = e * K * (H + 1) if a.family.scaled else e * K * (H + 2)
        reads = [count if n.casts else min(1, count) for count in (adapter.h, adapter.n)]
        between = _head_norms(a, K, n) / 2 if a.family.head_norms else 0
        grids, grids_rise = attention_cells(a, load, n)
        out = c * K * a.attended if adapter.a and not n.varlen else 0
        inner = c * K * a.inner * ((3 if a.family.gated else 1 + a.family.wide) + adapter.m)
        own = c * K * (adapter.rank + (2 * adapter.outputs if adapter.dora else 0))
        return cls(
            entry=e * K * H,
            attention=norm + c * K * H * reads[0] + between + grids + out,
            mlp=norm + c * K * H * reads[1] + inner + own,
            forward_rise=attention_forward(a, load, n),
            attention_rise=e * K * H + c * K * a.attended + grids_rise - out,
            down_rise=e * K * H + c * K * (2 * a.inner + H),
            mlp_rise=e * K * H + 3 * c * K * a.inner,
            weight=0.0,
        )


def _head_norms(a: Architecture, tokens: int, n: Numbers) -> float:
    """Two norms over heads: input and normalised input; under autocast an fp32 copy of each and a 16-bit one."""
    return tokens * (a.attended + a.keyed) * (n.master + n.product if n.casts else 2 * n.master)


def attention_cells(a: Architecture, load: Load, n: Numbers) -> tuple[float, float]:
    """Bytes that attention over the packed layout keeps for backward, and that its gradient needs beyond that.

    Prompts attend among themselves, P L positions; completions have N R queries and N (L + R) keys, their prompt's keys
    copied to each.  Shared key heads are expanded (C' = A).  A mask of P L^2 + N R (L + R) numbers is kept as well.
    The varlen kernel has all keys in one row, and no mask.
    """
    c, A = n.product, a.attended
    prompts, own = load.prompts * load.prompt, load.completion_queries
    if n.varlen:
        cells = c * A * 2 * (prompts + own + prompts + load.completion_keys)
        return cells + 4 * a.heads * (prompts + own), cells
    cells = c * A * 2 * (own + load.completion_keys)
    mask = c * (load.prompts * load.prompt**2 + load.pairs)
    return cells + c * A * 4 * prompts + 4 * a.heads * (prompts + own) + mask, cells


def attention_forward(a: Architecture, load: Load, n: Numbers) -> float:
    """Bytes that attention holds and does not keep: packed queries, keys and values, under autocast also fp32 queries
    and keys from the rotary embedding; in padded layout, keys and values before shared heads are expanded."""
    c, K = n.product, load.packed
    prompts, queries, keys = load.prompts * load.prompt, load.completion_queries, load.completion_keys
    if n.varlen:
        prompts, queries, keys = 0, prompts + queries, prompts + keys
    turned = n.master if n.casts and not a.family.places else 0  # before the cast to 16 bits
    held = K * ((c + turned) * (a.attended + a.keyed) + c * a.keyed)
    grids = 2 * c * (prompts + keys) * a.keyed if a.heads > a.key_heads else 0
    return float(held + grids + (0 if n.varlen else load.pairs))
