"""The interface that every algorithm is trained behind.  A language model implements it in
`harness/models/policy.py`; a three-armed bandit in the tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from algos.core.types import Batch, PolicyOutputs, Requirement, Rollouts


class Policy(ABC):
    """A model that can be read (`annotate`, `forward`) and moved (`backward`, `step`)."""

    value_only: bool = False  # the value model's warm-up: `forward` gives values a gradient, and nothing else

    @abstractmethod
    def annotate(self, rollouts: Rollouts, needs: frozenset[Requirement]) -> Rollouts:
        """Add what `needs` names, without gradient: reference log-probabilities, values."""

    @abstractmethod
    def forward(self, batch: Batch, needs: frozenset[Requirement]) -> PolicyOutputs:
        """Log-probabilities of the batch's completions under the live policy, with gradient.

        They are those of the distribution that was sampled from, temperature included (at temperature 1 where
        Schedule.likelihood is plain), dropout off: on an
        untouched policy they equal `batch.rollouts.logp_NT`.
        """

    def forward_passes(self, batch: Batch, needs: frozenset[Requirement]) -> Iterator[PolicyOutputs]:
        """The readings that a batch's gradient is made of: of each the loss is taken, and sent backward, before the
        next is asked for.  The last one's loss and metrics are the batch's.

        One reading; where a value model shares nothing with the policy there may be two (`harness/models/policy.py`).
        """
        yield self.forward(batch, needs)

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Add a share of the update's gradient."""

    @abstractmethod
    def step(self) -> dict[str, float]:
        """Clip, take one optimiser step, clear the gradient.  Returns what the step was (norm, rate)."""


class ValueHead(nn.Module):
    """V(s) = w . h + b: one number per token from the backbone's hidden state h.

    Zero at the start (w = 0, b = 0), as in the RLHF implementations that 1909.08593 began: the first advantages
    are then the rewards themselves, not noise.  (N, T, hidden) -> (N, T), in the head's own precision.
    """

    def __init__(self, hidden: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros((), dtype=dtype))

    def forward(self, hidden_NTH: Tensor) -> Tensor:
        return hidden_NTH.to(self.weight.dtype) @ self.weight + self.bias
