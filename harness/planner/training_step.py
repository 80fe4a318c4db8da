"""Memory of training's forward and backward pass, at the points where it can peak.

Backward goes from the head down: logits, the last norm, each layer's MLP and attention, the embedding.  Each layer
frees its activations and allocates its weights' gradients; from the second micro-batch on the gradients are allocated
already, and each new one exists beside them until it is added.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.models.limits import logit_rows
from harness.planner.activations import Layer, Load, Numbers, Snapshot
from harness.planner.adapters import Adapter
from harness.planner.architecture import Architecture

LOSS = 24  # numbers of credit and loss per completion token
INDICES = 6  # 8-byte integers of the packed layout, per packed token


def pieces(a: Architecture, n: Numbers, chosen: int) -> tuple[int, bool]:
    """Completion tokens whose logits are held at once, and whether several such pieces are needed."""
    rows = logit_rows(a.vocabulary, n.varlen)
    return min(rows, chosen), chosen > rows


@dataclass(frozen=True)
class Pass:
    """A backbone's forward and backward pass over one micro-batch, with the policy's head if `head`."""

    architecture: Architecture
    load: Load
    numbers: Numbers
    checkpointing: bool = False
    accumulated: bool = False  # gradients are allocated already, by the micro-batch before
    head: bool = True
    entropy: bool = False  # with the gradient of the entropy
    adapter: Adapter | None = None  # all else has no gradient

    @property
    def layer(self) -> Layer:
        return Layer.of(self.architecture, self.load, self.numbers, self.adapter)

    @property
    def kept(self) -> float:
        """Bytes that a layer keeps for backward."""
        return self.layer.entry if self.checkpointing else self.layer.kept

    @property
    def stream(self) -> float:
        """e K H: one hidden state per token."""
        return float(self.numbers.master * self.load.packed * self.architecture.hidden)

    @property
    def ends(self) -> float:
        """Kept outside the layers: rotary tables and indices, the last norm, states of completion tokens."""
        a, e, load = self.architecture, self.numbers.master, self.load
        tables = 0 if a.family.places else 2 * e * load.packed * a.head
        norm = e * load.packed * ((2 if a.family.scaled else 1) * a.hidden + 2)
        states = e * load.chosen * a.hidden
        if self.numbers.casts and self.head:
            states += self.numbers.product * load.chosen * a.hidden
        return float(tables + norm + states + 8 * INDICES * load.packed + e * LOSS * load.chosen)

    @property
    def words(self) -> float:
        """Logits of one piece: one number per vocabulary entry and token."""
        rows, _ = pieces(self.architecture, self.numbers, self.load.chosen)
        return float(max(4, self.numbers.master) * self.architecture.vocabulary * rows) if self.head else 0.0

    @property
    def many(self) -> bool:
        """Are the logits computed in pieces, each recomputed in backward?"""
        return self.head and pieces(self.architecture, self.numbers, self.load.chosen)[1]

    @property
    def gradients(self) -> float:
        a = self.architecture
        if self.adapter is not None:
            return float(self.numbers.master * self.adapter.parameters)
        return float(self.numbers.master * (a.parameters if self.head else a.backbone))

    @property
    def head_copy(self) -> float:
        """Bytes of the 16-bit copy of the head."""
        return float(self.numbers.product * self.architecture.embedding) if self.head and self.numbers.casts else 0.0

    def copies(self, layers: float) -> float:
        """Bytes of 16-bit copies of `layers` layers' matrices."""
        return float(layers * self.numbers.product * self.architecture.matrices) if self.numbers.casts else 0.0

    @property
    def backbone(self) -> Snapshot:
        """After the last layer's forward: activations of all layers, and 16-bit copies of their matrices (of
        checkpointed layers one at a time)."""
        gradients = self.gradients if self.accumulated else 0.0
        copies = self.copies(1 if self.checkpointing else self.architecture.layers)
        return Snapshot("forward", self.architecture.layers * self.kept, casts=copies, gradients=gradients)

    @property
    def held(self) -> Snapshot:
        """Between forward and backward: also log-probabilities of the vocabulary, and for an entropy with a gradient
        two more tensors of that size; none of them where logits come in pieces."""
        a, backbone = self.architecture, self.backbone
        casts = (0.0 if self.checkpointing else backbone.casts) + (0.0 if self.many else self.head_copy)
        logits = 0.0 if self.many else self.words * (3 if self.entropy else 1)
        return Snapshot("forward", a.layers * self.kept + self.ends, logits, casts, backbone.gradients)

    def snapshots(self) -> list[Snapshot]:
        """The possible peaks, from the end of forward to the end of backward."""
        layer, past = self.layer, self.layer.entry if self.checkpointing else self.layer.kept
        rise = max(layer.kept, layer.attention + layer.forward_rise) - past
        return [Snapshot("forward", rise).over(self.backbone), *self._head(), *self._layers(), self._embedding()]

    def _head(self) -> list[Snapshot]:
        """Forward: logits, log-probabilities, probabilities; for an entropy with a gradient two more.
        Backward: log-probabilities and the gradient, then the gradient beside that of the head's weight.  Pieces are
        recomputed, beside the sum of their gradients of the head, which is allocated anew for each."""
        if not self.head:
            return [self.held]
        held, words, e = self.held, self.words, self.numbers.master
        weight = float(e * self.architecture.embedding) if self.adapter is None else 0.0
        copy = self.head_copy if self.many else 0.0
        summed = weight if self.many else 0.0
        loaded = (3 + 2 * self.entropy) * words - held.logits
        narrow = words / 2 if self.numbers.casts else 0.0
        return [
            Snapshot("logits", logits=loaded, casts=copy, gradients=summed).over(held),
            Snapshot("head", logits=2 * words - held.logits, casts=copy, gradients=summed).over(held),
            Snapshot("head", logits=words + narrow - held.logits, casts=copy, gradients=summed + weight).over(held),
            Snapshot("head", logits=-held.logits, casts=copy, gradients=2 * summed + weight).over(held),
        ]

    def _layers(self) -> list[Snapshot]:
        """The last norm, then MLP and attention of the last and of the first layer: between them memory is linear."""
        a, layer, e = self.architecture, self.layer, self.numbers.master
        base = self.backbone
        base = Snapshot("", base.activations, casts=0.0 if self.checkpointing else base.casts, gradients=base.gradients)
        above = self._above()
        moments = [Snapshot("last norm", 5 * self.stream, gradients=above).over(base)]
        for passed in {0, a.layers - 1}:
            freed = passed * self.kept + self.kept - layer.kept
            casts = self.copies(1 if self.checkpointing else -passed)
            own: float = a.layer
            mlp: float = a.mlp_matrices
            if self.adapter is not None:
                own, mlp = self.adapter.parameters / a.layers, 0
            made = above + (0 if self.accumulated else passed * e * own)
            weight, mlp = (0.0, 0.0) if self.accumulated else (layer.weight, float(e * mlp))
            attention = layer.attention_rise - layer.mlp
            for name, rise, new in (
                ("MLP", layer.down_rise, layer.weight),
                ("MLP", layer.mlp_rise, weight),
                ("attention", attention, mlp),
            ):
                moments.append(Snapshot(name, rise - freed, casts=casts, gradients=made + new).over(base))
            if self.checkpointing:
                again = self.stream + layer.forward_rise - layer.mlp
                moments.append(Snapshot("attention, again", again - freed, casts=casts, gradients=made).over(base))
        return moments

    def _above(self) -> float:
        """Gradients after the head's backward, beside accumulated ones: the head's, or a tied one's not yet added."""
        waits = self.head and self.adapter is None and (self.architecture.tied or not self.accumulated)
        return float(self.numbers.master * self.architecture.embedding) if waits else 0.0

    def _embedding(self) -> Snapshot:
        """At the end: all gradients, the embedding's new one, and with a tied head the head's and their sum."""
        a, e = self.architecture, self.numbers.master
        more = a.embedding * ((1 if self.accumulated else 0) + (2 if self.head and a.tied else 0))
        more = more if self.adapter is None else 0
        return Snapshot("embedding", self.stream, gradients=self.gradients + e * more)
