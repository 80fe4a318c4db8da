"""The moments at which what has no gradient can be at its peak: a reading of a round, and the decode that writes one.

Without a gradient a layer keeps nothing; what its functions hold at their fullest moment counts, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.planner.activations import Load, Moment, Numbers, attention_cells, attention_forward
from harness.planner.architecture import Anatomy
from harness.planner.training_step import INDICES, pieces

FIRST, COLUMNS = 16, 128  # as harness/cache.py and harness/engine.py have them


def reading(a: Anatomy, load: Load, n: Numbers, head: bool = True, live: bool = False) -> list[Moment]:
    """One micro-batch read.  `live`: a model whose matrices are not 16-bit already makes a 16-bit copy of each for its
    product, one after another: without a gradient autocast keeps none."""
    states = n.master * load.chosen * a.hidden + 8 * INDICES * load.packed
    copies = float(n.product * a.hidden * a.inner) if live and n.casts else 0.0
    found = [
        Moment("attention", _attention(a, load, n) + 8 * INDICES * load.packed, casts=copies),
        Moment("MLP", _mlp(a, load, n) + 8 * INDICES * load.packed, casts=copies),
    ]
    if head:
        rows, _ = pieces(a, n, load.chosen)
        words = float(max(4, n.master) * a.vocabulary * rows)
        narrow = float(n.product * a.embedding) if live and n.casts else 0.0
        found.append(Moment("logits", states, 3 * words, narrow))
    return found


def _attention(a: Anatomy, load: Load, n: Numbers) -> float:
    """The embedded tokens, a layer's input and its norm (3 H), and all that attention holds."""
    grids, _ = attention_cells(a, load, n)
    return 3.0 * n.master * load.packed * a.hidden + grids + attention_forward(a, load, n)


def _mlp(a: Anatomy, load: Load, n: Numbers) -> float:
    """The embedded tokens, the layer's input, the sum after attention, its norm (4 H), and gate, up, product (3 I); an
    activation that is written out holds four."""
    e, c, K = n.master, n.product, load.packed
    inner = 3 if a.family.gated else 1 + a.family.wide
    return float(4 * e * K * a.hidden + (c * K * a.hidden if n.casts else 0) + c * K * inner * a.inner)


@dataclass(frozen=True)
class Decode:
    """Completions of `own` tokens for prompts of `prompt` tokens, `rows` of them decoded at once."""

    anatomy: Anatomy
    numbers: Numbers
    prompts: int
    group: int
    prompt: int
    own: int
    static: bool = False  # memory taken whole beforehand, rows and columns rounded up (harness/engine.py): on CUDA

    @property
    def rows(self) -> int:
        return bucket(self.prompts * self.group) if self.static else self.prompts * self.group

    @property
    def cell(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        a, n = self.anatomy, self.numbers
        return a.layers * a.keyed * 2 * n.product

    @property
    def shared(self) -> float:
        """Of prompts, once each."""
        room = -(-self.prompt // COLUMNS) * COLUMNS if self.static else self.prompt
        return float(self.prompts * room * self.cell)

    @property
    def cache(self) -> float:
        """All keys and values when every row is at its last token."""
        return self.shared + float(self.rows * self.own * self.cell)

    @property
    def words(self) -> float:
        return float(max(4, self.numbers.master) * self.anatomy.vocabulary * self.rows)

    def moments(self) -> list[Moment]:
        """Prompts read; memory laid out while what was read is there; the last growth; the last token drawn."""
        a, n = self.anatomy, self.numbers
        kept = float(self.prompts * self.prompt * self.cell)
        first = float(n.product * a.vocabulary * self.prompts)  # logits after each prompt: held to the end
        written = float(self.rows * self.own * (8 + 8 + 4 + 4))  # ids, noise, log-probabilities, entropies
        room = self.own if self.static else min(FIRST, self.own)
        while room < self.own and not self.static and 2 * room < self.own:
            room *= 2
        read = reading(a, Load(self.prompts, 0, self.prompt, 1), n, head=False)
        opened = self.own if self.static else min(FIRST, self.own)
        grown = 0.0 if self.static or room >= self.own else float(self.rows * room * self.cell / a.layers)
        drawn = 4 * self.words + (self.words * n.product / n.master if n.casts else 0.0)
        return [
            *(Moment("prompts", m.activations + written, kv_cache=kept) for m in read),
            Moment("layout", written, first, kv_cache=kept + self.shared + float(self.rows * opened * self.cell)),
            Moment("growth", written, first, kv_cache=self.cache + grown),
            Moment("attention", written + self._attention(), first, kv_cache=self.cache),
            Moment("drawing", written, first + drawn, kv_cache=self.cache),
        ]

    def _attention(self) -> float:
        """Of one token a row in one layer: scores, their masked softmax and its 16-bit copy, over L + T columns; on the
        CPU the layer's 16-bit keys again in fp32, own or shared."""
        a, n, room = self.anatomy, self.numbers, self.shared / max(1, self.prompts * self.cell)
        scores = self.rows * a.heads * (room + self.own)
        keys = max(self.rows * self.own, self.prompts * room) if n.casts and not self.static else 0
        return float((2 * n.master + n.product) * scores + n.master * a.keyed * keys)


def bucket(rows: int) -> int:
    """As harness/engine.py rounds: up to 1, 2, 3, 4, 6, 8, 12, ..."""
    power = 1 << max(0, rows - 1).bit_length()
    return power * 3 // 4 if power >= 4 and rows <= power * 3 // 4 else power
