"""The interface that makes algorithms peers: `needs`, `schedule`, `credit`, `loss`, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from algos.core.paradigm import Row
from algos.core.preset import Preset
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Requirement, Rollouts, Schedule


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """An algorithm is a frozen dataclass: its fields are its hyper-parameters, its defaults the paper's.

    To add one, write `algos/<name>.py` with one subclass (or pass `--algo FILE.py`): nothing else changes.
    """

    paradigm: ClassVar[Row | None] = None  # its row of Table 10, where it has one
    preset: ClassVar[Preset | None] = None  # where it is another one with other defaults, by name

    @property
    def needs(self) -> frozenset[Requirement]:
        """What `credit` and `loss` read beyond the sampled tokens: see `Requirement`."""
        return frozenset()

    def schedule(self, base: Schedule) -> Schedule:
        """The base schedule (prompts and group size of the model's profile), as this algorithm wants it.

        Raises ValueError, naming the field, where the algorithm cannot work with it.
        """
        return base

    def adapt(self, rollouts: Rollouts) -> Self:
        """This algorithm for the next round: the place to adapt a coefficient to a target."""
        return self

    def probes(self, problems: list[int]) -> list[int]:
        """Completions of each prompt of a round, given by their problems' identities, that are sampled, judged and
        charged besides, and not trained on."""
        return [0] * len(problems)

    @property
    def remembers_prompts(self) -> bool:
        """Is what it keeps of a prompt nothing until that prompt is met again?"""
        return False

    def live_groups(self, rollouts: Rollouts) -> int:
        """How many groups of a round have something to teach: what dynamic sampling counts (`Schedule.draws`)."""
        return int(rollouts.group_N.max()) + 1

    def flops(self, rollouts: Rollouts) -> float:
        """What `credit` and `adapt` cost beyond the models' passes, charged to the run."""
        return 0.0

    def state(self) -> Mapping[str, Any]:
        """What it has learned beside its fields, as plain JSON: a checkpoint keeps it."""
        return {}

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """This algorithm, with what `state` gave."""
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
