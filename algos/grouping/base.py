"""The interface of baselines and of grouping keys.  Shapes: N completions in P groups, a group per prompt draw.

Both are frozen dataclasses: their fields are the options of their name, `history(rho=0.9)`.  What they have learned is
a `Memory`, which the algorithm keeps and a checkpoint holds: plain JSON, so that a resumed run goes on in the same
bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from algos.core.types import Requirement, Rollouts

Memory = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What baselines and keys share."""

    source: ClassVar[str] = ""  # paper, or repository and file
    formula: ClassVar[str] = ""

    @property
    def needs(self) -> frozenset[Requirement]:
        """What it reads beyond tokens and rewards: "metadata", "greedy", "probes", "embedding"."""
        return frozenset({"metadata"})

    def probes(self, problems: list[int], memory: Memory) -> list[int]:
        """Completions of each prompt of a round that are sampled, judged and charged besides, and not trained on."""
        return [0] * len(problems)

    def learn(self, r: Rollouts, memory: Memory) -> Memory:
        """The memory for the next round.  `r` has its rewards."""
        return memory

    def flops(self, r: Rollouts, memory: Memory) -> float:
        """What `learn` and reading cost beyond the models, charged to the run."""
        return 0.0


class Baseline(Choice, ABC):
    """The number that each reward is compared with."""

    unbiased: ClassVar[bool] = True  # independent of the completion that it is compared with
    per_group: ClassVar[bool] = False  # it needs two completions in a group
    keyed: ClassVar[bool] = False  # `group_by` means something to it
    remembers: ClassVar[bool] = False  # it is nothing where no prompt is met again

    @abstractmethod
    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        """Shape (N,).  `key_N`: the group of each completion, by `group_by`; `r.group_N`: its prompt's."""

    def finish(
        self, advantage_N: Tensor, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory
    ) -> Tensor:
        """The advantages, centred and scaled, as this method has them: the place of a weight.  Shape (N,)."""
        return advantage_N


class GroupKey(Choice, ABC):
    """Which group a completion belongs to."""

    safe: ClassVar[bool] = True  # known before the completion is: else a baseline over it takes signal away
    reads: ClassVar[str | None] = None  # the metadata that a task must give

    def check_prompts(self, prompts: int) -> None:
        """Raises ValueError where rounds of so many prompts are too few; only the last round may have fewer."""
        return

    @abstractmethod
    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        """The number of each completion's group, 0, 1, ...  Shape (N,), int64."""


def per_prompt(x_N: Tensor, group_N: Tensor) -> Tensor:
    """The first of each group: of what all completions of a prompt share.  Shape (P, ...)."""
    count = int(group_N.max()) + 1
    first_P = torch.full((count,), len(group_N), device=group_N.device, dtype=torch.int64)
    first_P.scatter_reduce_(0, group_N, torch.arange(len(group_N), device=group_N.device), "amin")
    return x_N[first_P]


def metadata(r: Rollouts, name: str, asked: str) -> Tensor:
    """Raises ValueError where the task, or the run, does not give it."""
    if name not in r.metadata:
        has = ", ".join(sorted(r.metadata)) or "none"
        raise ValueError(f"algo.{asked}: it reads a prompt's '{name}', which this task does not give; it gives: {has}")
    return r.metadata[name]


def problems_of(r: Rollouts, asked: str = "baseline") -> list[int]:
    """The identity of each group's problem: equal in whatever round it is met."""
    return [int(x) for x in per_prompt(metadata(r, "problem", asked), r.group_N)]


def group_totals(reward_N: Tensor, group_N: Tensor, valid_N: Tensor) -> tuple[list[float], list[int]]:
    """(sum of rewards, count) of each group's valid completions, in float64."""
    count = int(group_N.max()) + 1
    sums = torch.zeros(count, dtype=torch.float64).index_add_(
        0, group_N.cpu(), torch.where(valid_N, reward_N, 0).double().cpu()
    )
    counts = torch.zeros(count, dtype=torch.int64).index_add_(0, group_N.cpu(), valid_N.long().cpu())
    return sums.tolist(), counts.tolist()


def spread_to_rows(values: list[float], group_N: Tensor, like_N: Tensor) -> Tensor:
    """A number per group, for each of its completions.  Shape (N,)."""
    return torch.tensor(values, dtype=like_N.dtype, device=like_N.device)[group_N]
