"""Baselines that borrow strength from the round's other prompts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algos.core.types import Requirement, Rollouts
from algos.grouping.base import Baseline, Memory, per_prompt
from algos.ops import shrinkage


class _OfRewards(Baseline):
    """It reads rewards and groups alone."""

    @property
    def needs(self) -> frozenset[Requirement]:
        return frozenset()


@dataclass(frozen=True, kw_only=True)
class JamesStein(_OfRewards):
    """Leave-one-out shrunk towards the other prompts' mean, as released."""

    formula = "(1-l) LOO + l mean of others; l = v/(v+s), s: variance of observed means"
    source = "2511.03710; JSPO-Official 3f8539d core_algos.py:582"

    weight: float | None = None  # a constant in lambda's place: the control

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ValueError(f"algo.baseline: james_stein: weight must lie in 0..1, not {self.weight}")

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return shrinkage.james_stein(reward_N, r.group_N, valid_N, corrected=False, weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class JamesSteinCorrected(_OfRewards):
    """The same with the variance of true means, and the noise of n - 1 rewards."""

    formula = "(1-l) LOO + l mean of others; l = v'/(v'+t), t: variance of true means"
    source = "empirical Bayes (ours), on 2511.03710"

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return shrinkage.james_stein(reward_N, r.group_N, valid_N, corrected=True)


@dataclass(frozen=True, kw_only=True)
class Hierarchical(_OfRewards):
    """Shrunk towards the prompt's cluster (`group_by`), which is shrunk towards the round."""

    formula = "(1-l) LOO + l [(1-k) cluster without i + k round without the cluster]"
    source = "empirical Bayes on two levels (ours)"
    keyed = True

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return shrinkage.hierarchical(reward_N, r.group_N, valid_N, per_prompt(key_N, r.group_N))
