"""The interface that makes algorithms peers: `needs`, `schedule`, `credit`, `loss`, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Requirement, Rollouts, Schedule


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """An algorithm is a frozen dataclass: its fields are its hyper-parameters, its defaults the paper's.

    To add one, write `algos/<name>.py` with one subclass (or pass `--algo FILE.py`): nothing else changes.
    """

    paradigm: ClassVar[Row | None] = None  # its row of Table 10, where it has one

    @property
    def needs(self) -> frozenset[Requirement]:
        """What `credit` and `loss` read beyond the sampled tokens: "reference", "values", "entropy", "steps"."""
        return frozenset()

    def schedule(self, base: Schedule) -> Schedule:
        """The base schedule (prompts and group size of the model's profile), as this algorithm wants it.

        Raises ValueError, naming the field, where the algorithm cannot work with it.
        """
        return base

    def adapt(self, rollouts: Rollouts) -> Self:
        """This algorithm for the next round: the place to adapt a coefficient to a target."""
        return self

    @abstractmethod
    def credit(self, rollouts: Rollouts) -> Credit:
        """Rewards of a whole round -> the worth of each token.  Called without gradient."""

    @abstractmethod
    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        """A batch -> its *share* of the update's loss, and its share of each metric.

        Shares of one update add up: everything is divided by `batch.totals`, so that how an update is cut
        into micro-batches changes no gradient and no metric.
        """


def check_top_k(top_k: int | None, **others: Any) -> None:
    """Raises ValueError, naming the field, where `top_k` is below 1, or beside fields that concern correct completions.

    `others` are those fields: each with its value, and the value that it must have beside a top-k.
    """
    if top_k is None:
        return
    if top_k < 1:
        raise ValueError(f"algo.top_k: must be at least 1, not {top_k}")
    for name, (value, off) in others.items():
        if value != off:
            raise ValueError(f"algo.top_k: needs algo.{name}={str(off).lower()}, not {str(value).lower()}")
