"""Memory of computations without a gradient, at the points where it can peak: scoring a round, and decoding one.

Without a gradient a layer keeps nothing; the peak within one layer counts once.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.models.limits import COLUMN_MULTIPLE, INITIAL_COLUMNS, bucket
from harness.planner.activations import Load, Numbers, Snapshot, attention_cells, attention_forward
from harness.planner.architecture import Architecture
from harness.planner.training_step import INDICES, pieces


def reading(
    a: Architecture, load: Load, n: Numbers, head: bool = True, live: bool = False, adapted: bool = False
) -> list[Snapshot]:
    """A forward pass over one micro-batch.  `live`: the model's matrices are fp32, and autocast makes a 16-bit copy of
    each for its product, one after another: without a gradient it keeps none.  `adapted`: an adapter acts, whose output
    stands beside its base's."""
    states = n.master * load.chosen * a.hidden + 8 * INDICES * load.packed
    copies = float(n.product * a.hidden * a.inner) if live and n.casts else 0.0
    moments = [
        Snapshot("attention", _attention(a, load, n) + 8 * INDICES * load.packed, casts=copies),
        Snapshot(
            "MLP",
            _mlp(a, load, n) + n.product * load.packed * a.inner * adapted + 8 * INDICES * load.packed,
            casts=copies,
        ),
    ]
    if head:
        rows, _ = pieces(a, n, load.chosen)
        words = float(max(4, n.master) * a.vocabulary * rows)
        narrow = float(n.product * a.embedding) if live and n.casts else 0.0
        moments.append(Snapshot("logits", states, 3 * words, narrow))
    return moments


def _attention(a: Architecture, load: Load, n: Numbers) -> float:
    """The embedded tokens, a layer's input and its norm (3 H), and everything in attention."""
    grids, _ = attention_cells(a, load, n)
    return 3.0 * n.master * load.packed * a.hidden + grids + attention_forward(a, load, n)


def _mlp(a: Architecture, load: Load, n: Numbers) -> float:
    """The embedded tokens, the layer's input, the sum after attention, its norm (4 H), and gate, up, product (3 I); a
    written-out activation holds four."""
    e, c, K = n.master, n.product, load.packed
    inner = 3 if a.family.gated else 1 + a.family.wide
    return float(4 * e * K * a.hidden + (c * K * a.hidden if n.casts else 0) + c * K * inner * a.inner)


@dataclass(frozen=True)
class Decode:
    """Decoding completions of `own` tokens for prompts of `prompt` tokens, `rows` of them at once."""

    architecture: Architecture
    numbers: Numbers
    prompts: int
    group: int
    prompt: int
    own: int
    static: bool = False  # a cache allocated in full beforehand, rows and columns rounded up: on CUDA

    @property
    def rows(self) -> int:
        return bucket(self.prompts * self.group) if self.static else self.prompts * self.group

    @property
    def cell(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        a, n = self.architecture, self.numbers
        return a.layers * a.keyed * 2 * n.product

    @property
    def shared(self) -> float:
        """Bytes of the prompts' keys and values, once per prompt."""
        room = -(-self.prompt // COLUMN_MULTIPLE) * COLUMN_MULTIPLE if self.static else self.prompt
        return float(self.prompts * room * self.cell)

    @property
    def cache(self) -> float:
        """Bytes of all keys and values when every row is at its last token."""
        return self.shared + float(self.rows * self.own * self.cell)

    @property
    def words(self) -> float:
        return float(max(4, self.numbers.master) * self.architecture.vocabulary * self.rows)

    def snapshots(self) -> list[Snapshot]:
        """The prefill; the allocation of the cache beside it; the cache's last growth; sampling the last token."""
        a, n = self.architecture, self.numbers
        prompt_cache = float(self.prompts * self.prompt * self.cell)
        first = float(n.product * a.vocabulary * self.prompts)  # logits after each prompt: held to the end
        outputs = float(self.rows * self.own * (8 + 8 + 4 + 4))  # ids, noise, log-probabilities, entropies
        room = self.own if self.static else min(INITIAL_COLUMNS, self.own)
        while room < self.own and not self.static and 2 * room < self.own:
            room *= 2
        read = reading(a, Load(self.prompts, 0, self.prompt, 1), n, head=False)
        initial = self.own if self.static else min(INITIAL_COLUMNS, self.own)
        grown = 0.0 if self.static or room >= self.own else float(self.rows * room * self.cell / a.layers)
        sampling = 4 * self.words + (self.words * n.product / n.master if n.casts else 0.0)
        return [
            *(Snapshot("prompts", m.activations + outputs, kv_cache=prompt_cache) for m in read),
            Snapshot(
                "layout", outputs, first, kv_cache=prompt_cache + self.shared + float(self.rows * initial * self.cell)
            ),
            Snapshot("growth", outputs, first, kv_cache=self.cache + grown),
            Snapshot("attention", outputs + self._attention(), first, kv_cache=self.cache),
            Snapshot("drawing", outputs, first + sampling, kv_cache=self.cache),
        ]

    def _attention(self) -> float:
        """Attention of one token per row in one layer: scores, their masked softmax and its 16-bit copy, over L + T
        columns; on the CPU also the layer's 16-bit keys (own or shared) in fp32."""
        a, n, room = self.architecture, self.numbers, self.shared / max(1, self.prompts * self.cell)
        scores = self.rows * a.heads * (room + self.own)
        keys = max(self.rows * self.own, self.prompts * room) if n.casts and not self.static else 0
        return float((2 * n.master + n.product) * scores + n.master * a.keyed * keys)
