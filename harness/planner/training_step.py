"""The moments at which training's forward and backward can be at their peak.

Backward goes from the head down: logits, the last norm, each layer's MLP and attention, the embedding.  What a layer
kept is freed as it is passed, and its weights' gradients appear; after the first micro-batch they are there already,
and each new one stands beside them until it is added.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.planner.activations import Layer, Load, Moment, Numbers
from harness.planner.architecture import Anatomy

LOGIT_BYTES, RAGGED_LOGIT_BYTES = 2**28, 2**30  # as harness/lm.py has them
LOSS = 24  # numbers that credit and loss hold for each chosen token
INDICES = 6  # integers of 8 bytes that the layout holds for each packed token


def pieces(a: Anatomy, n: Numbers, chosen: int) -> tuple[int, bool]:
    """Chosen tokens whose logits are there at once, and whether there are several such pieces."""
    rows = max(1, (RAGGED_LOGIT_BYTES if n.ragged else LOGIT_BYTES) // (4 * a.vocabulary))
    return min(rows, chosen), chosen > rows


@dataclass(frozen=True)
class Pass:
    """A trunk's forward and backward over one micro-batch, with the policy's head where `head`."""

    anatomy: Anatomy
    load: Load
    numbers: Numbers
    checkpointing: bool = False
    accumulated: bool = False  # gradients are there from the micro-batch before
    head: bool = True
    entropy: bool = False  # its gradient is asked for

    @property
    def layer(self) -> Layer:
        return Layer.of(self.anatomy, self.load, self.numbers)

    @property
    def kept(self) -> float:
        """Of a layer, through the forward pass."""
        return self.layer.entry if self.checkpointing else self.layer.kept

    @property
    def stream(self) -> float:
        """e K H: one state of every token."""
        return float(self.numbers.master * self.load.packed * self.anatomy.hidden)

    @property
    def ends(self) -> float:
        """Kept below the first layer and above the last: rotary tables and indices, the last norm, chosen states."""
        a, e, load = self.anatomy, self.numbers.master, self.load
        tables = 0 if a.family.places else 2 * e * load.packed * a.head
        norm = e * load.packed * ((2 if a.family.scaled else 1) * a.hidden + 2)
        states = e * load.chosen * a.hidden
        if self.numbers.casts and self.head:
            states += self.numbers.product * load.chosen * a.hidden
        return float(tables + norm + states + 8 * INDICES * load.packed + e * LOSS * load.chosen)

    @property
    def words(self) -> float:
        """One number for each word of the vocabulary and each token of a piece."""
        rows, _ = pieces(self.anatomy, self.numbers, self.load.chosen)
        return float(max(4, self.numbers.master) * self.anatomy.vocabulary * rows) if self.head else 0.0

    @property
    def many(self) -> bool:
        """Logits come in pieces, each computed again in backward."""
        return self.head and pieces(self.anatomy, self.numbers, self.load.chosen)[1]

    @property
    def gradients(self) -> float:
        a = self.anatomy
        return float(self.numbers.master * (a.parameters if self.head else a.trunk))

    @property
    def head_copy(self) -> float:
        """The 16-bit head."""
        return float(self.numbers.product * self.anatomy.embedding) if self.head and self.numbers.casts else 0.0

    def copies(self, layers: float) -> float:
        """16-bit copies of so many layers' matrices."""
        return float(layers * self.numbers.product * self.anatomy.matrices) if self.numbers.casts else 0.0

    @property
    def trunk(self) -> Moment:
        """When the last layer has been read: what layers keep, and the copies that their products keep (of checkpointed
        layers one's at a time)."""
        there = self.gradients if self.accumulated else 0.0
        copies = self.copies(1 if self.checkpointing else self.anatomy.layers)
        return Moment("forward", self.anatomy.layers * self.kept, casts=copies, gradients=there)

    @property
    def held(self) -> Moment:
        """Between forward and backward: log-probabilities of all words too, and for an entropy with a gradient two more
        such; nothing of them where logits come in pieces."""
        a, trunk = self.anatomy, self.trunk
        casts = (0.0 if self.checkpointing else trunk.casts) + (0.0 if self.many else self.head_copy)
        logits = 0.0 if self.many else self.words * (3 if self.entropy else 1)
        return Moment("forward", a.layers * self.kept + self.ends, logits, casts, trunk.gradients)

    def moments(self) -> list[Moment]:
        """From the end of forward to the end of backward: where a peak can be."""
        layer, past = self.layer, self.layer.entry if self.checkpointing else self.layer.kept
        rise = max(layer.kept, layer.attention + layer.forward_rise) - past
        return [Moment("forward", rise).over(self.trunk), *self._head(), *self._layers(), self._embedding()]

    def _head(self) -> list[Moment]:
        """Forward: logits, log-probabilities, probabilities; for an entropy with a gradient two more.
        Backward: log-probabilities and the gradient, then the gradient beside that of the head's weight.  Pieces are
        computed again, beside the sum of their gradients of the head, which is made anew with each."""
        if not self.head:
            return [self.held]
        held, words, e = self.held, self.words, self.numbers.master
        weight = float(e * self.anatomy.embedding)
        copy = self.head_copy if self.many else 0.0
        summed = weight if self.many else 0.0
        loaded = (3 + 2 * self.entropy) * words - held.logits
        narrow = words / 2 if self.numbers.casts else 0.0
        return [
            Moment("logits", logits=loaded, casts=copy, gradients=summed).over(held),
            Moment("head", logits=2 * words - held.logits, casts=copy, gradients=summed).over(held),
            Moment("head", logits=words + narrow - held.logits, casts=copy, gradients=summed + weight).over(held),
            Moment("head", logits=-held.logits, casts=copy, gradients=2 * summed + weight).over(held),
        ]

    def _layers(self) -> list[Moment]:
        """The last norm, then the last layer's and the first's MLP and attention: between them all is linear."""
        a, layer, e = self.anatomy, self.layer, self.numbers.master
        base = self.trunk
        base = Moment("", base.activations, casts=0.0 if self.checkpointing else base.casts, gradients=base.gradients)
        above = self._above()
        found = [Moment("last norm", 5 * self.stream, gradients=above).over(base)]
        for passed in {0, a.layers - 1}:
            freed = passed * self.kept + self.kept - layer.kept
            casts = self.copies(1 if self.checkpointing else -passed)
            made = above + (0 if self.accumulated else passed * e * a.layer)
            weight, mlp = (0.0, 0.0) if self.accumulated else (layer.weight, float(e * a.mlp_matrices))
            attention = layer.attention_rise - layer.mlp
            for name, rise, new in (
                ("MLP", layer.down_rise, layer.weight),
                ("MLP", layer.mlp_rise, weight),
                ("attention", attention, mlp),
            ):
                found.append(Moment(name, rise - freed, casts=casts, gradients=made + new).over(base))
            if self.checkpointing:
                again = self.stream + layer.forward_rise - layer.mlp
                found.append(Moment("attention, again", again - freed, casts=casts, gradients=made).over(base))
        return found

    def _above(self) -> float:
        """Gradients once the head is passed, beside the accumulated ones: its own, or a tied one's in wait."""
        waits = self.head and (self.anatomy.tied or not self.accumulated)
        return float(self.numbers.master * self.anatomy.embedding) if waits else 0.0

    def _embedding(self) -> Moment:
        """At the end: all gradients, the embedding's new one, and where the head is tied the head's and their sum."""
        a, e = self.anatomy, self.numbers.master
        more = a.embedding * ((1 if self.accumulated else 0) + (2 if self.head and a.tied else 0))
        return Moment("embedding", self.stream, gradients=self.gradients + e * more)
