"""What a run drives."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from harness.accounting.budget import Spend
from harness.training.metrics import Round


class TrainingLoop(Protocol):
    """What a run drives: the live loop (`trainer.Trainer`), or sampling first and training after
    (`offline.OfflineLoop`).
    """

    @property
    def progress(self) -> float:
        """How far along the learning curve the run is, 0 .. 1."""
        ...

    def train_round(self) -> Round | None:
        """One round; None where the budget is spent."""
        ...

    def at(self, fraction: float) -> AbstractContextManager[Spend]:
        """While this holds, the policy is what `fraction` of the budget buys; yields what that has spent."""
        ...

    def split(self) -> dict[str, Any]:
        """How the spend divides between sampling and training, where these are stages of their own."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a checkpoint keeps beside the models: numbers and tensors."""
        ...

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Continue from there."""
        ...
