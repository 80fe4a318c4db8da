"""The value function of a language model: a head on the policy's own trunk, or on a trunk of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from algos import Critic, Rollouts, ValueHead
from harness.rollout import positions


class LMCritic(nn.Module):
    """V of the state in which each completion token was chosen.

    `shared`: a head on the hidden states that the policy's own output head reads.  `separate`: a copy of the start
    model without its output head, and a value head.
    """

    def __init__(self, model: Any, kind: Critic) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(model.base_model) if kind == "separate" else None
        weight = model.get_output_embeddings().weight
        self.head = ValueHead(weight.shape[1], weight.dtype)

    def hidden(self, r: Rollouts) -> Tensor:
        """The trunk's states from which the completion's tokens are foreseen.  (N, T, hidden)."""
        assert self.trunk is not None
        width = r.mask_NT.shape[1]
        states = self.trunk(
            input_ids=r.tokens_NS,
            attention_mask=r.attend_NS.long(),
            position_ids=positions(r.attend_NS),
            use_cache=False,
        ).last_hidden_state
        return states[:, -(width + 1) : -1]

    def forward(self, r: Rollouts, hidden_NTH: Tensor) -> Tensor:
        """0 at mask 0.  (N, T)."""
        return torch.where(r.mask_NT, self.head(hidden_NTH), 0)


@contextmanager
def inputs_of(head: nn.Module) -> Iterator[list[Tensor]]:
    """What a causal LM's output head is given while the block runs: the trunk's last states, in any architecture."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        handle.remove()
