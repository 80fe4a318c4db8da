"""The value function of a language model: a head on the policy's own backbone, or on a backbone of its own."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from algos import Critic, ValueHead
from harness.models.adapters.adapter_set import CRITIC, AdapterSet
from harness.models.backbone import backbone_of


class ValueModel(nn.Module):
    """V of the state in which each completion token was chosen.

    `shared`: a head on the hidden states that the policy's own output head reads.  `separate`: a copy of the start
    model without its output head, and a value head; with `adapters`, one of these on the policy's own frozen base in
    the copy's place.
    """

    def __init__(self, model: Any, kind: Critic, adapters: AdapterSet | None = None) -> None:
        super().__init__()
        separate = kind == "separate"
        self.trunk = copy.deepcopy(backbone_of(model)) if separate and adapters is None else None
        self.adapter = adapters.weights(CRITIC) if separate and adapters is not None else None
        weight = model.get_output_embeddings().weight
        self.head = ValueHead(weight.shape[1], weight.dtype)

    def forward(self, state_MH: Tensor) -> Tensor:
        """(M, hidden) -> (M,)."""
        return self.head(state_MH)  # type: ignore[no-any-return]
