"""DGPO: difficulty-aware group policy optimization (MathForge 83edda0, `grpo_trainer.py:1701`).

    A_i  = G (r_i - mean_g r) / sum_j |r_j - mean_g r|  x  K softmax_g(-p_g / 2),  over the K groups with a difference
    J    = (1 / sum_i |o_i|) sum_i sum_t min[rho A_i, clip(rho, 1-lo, 1+hi) A_i],  i over the groups with a difference

p_g is the group's mean reward: hard prompts weigh more.  For a reward of 0 or 1 the mean absolute deviation is
2 p (1-p), so that it ascends (1/2) log(p / (1-p)), by that weight.  The released loss rescales by the share of tokens
that are live, which is to leave the others out of the denominator.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algos.core.types import Rollouts
from algos.grpo import GRPO
from algos.ops import aggregate, reweighting, select


@dataclass(frozen=True, kw_only=True)
class DGPO(GRPO):
    """The mean absolute deviation in the deviation's place, and a weight for hard prompts."""

    kl_coef: float = 0.0  # no KL term; chosen
    loss_aggregation: aggregate.Aggregation = "token"  # every token of the update weighs the same
    filter_groups: select.GroupFilter = "zero_variance"  # silent groups leave the denominator
    difficulty_temperature: float = 2.0  # of the softmax over -p

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.difficulty_temperature > 0:
            raise ValueError(f"algo.difficulty_temperature: must be positive, not {self.difficulty_temperature}")

    def outcome_advantages(self, reward_N: Tensor, valid_N: Tensor, r: Rollouts) -> Tensor:
        return reweighting.difficulty_balanced(reward_N, r.group_N, valid_N, self.difficulty_temperature)
