"""The interface that every algorithm is trained behind.  A language model implements it in
`harness/policy.py`; a three-armed bandit in the tests."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from algos.types import Batch, Fresh, Need, Rollouts


class Policy(ABC):
    """A model that can be read (`annotate`, `forward`) and moved (`backward`, `step`)."""

    @abstractmethod
    def annotate(self, rollouts: Rollouts, needs: frozenset[Need]) -> Rollouts:
        """Add what `needs` names, without gradient: reference log-probabilities, values."""

    @abstractmethod
    def forward(self, batch: Batch, needs: frozenset[Need]) -> Fresh:
        """Log-probabilities of the batch's completions under the live policy, with gradient.

        They are those of the distribution that was sampled from, temperature included, dropout off: on an
        untouched policy they equal `batch.rollouts.logp_NT`.
        """

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Add a share of the update's gradient."""

    @abstractmethod
    def step(self) -> dict[str, float]:
        """Clip, take one optimiser step, clear the gradient.  Returns what the step was (norm, rate)."""
