"""Lite PPO: two tricks on a policy gradient without a critic (Tricks or Traps, 2508.08221).

    A_i  = (r_i - mean_g r) / std_batch r
    J    = (1 / sum_i |o_i|) sum_i sum_t min[rho A_i, clip(rho, 1-lo, 1+hi) A_i]

The mean is the group's and the deviation that of all rewards of the round, which is steadier than a group's where most
of a group's rewards are equal.  No KL.  It has no value model: its name is its authors'.
"""

from __future__ import annotations

from dataclasses import dataclass

from algos.grpo import GRPO
from algos.ops import advantages, aggregate


@dataclass(frozen=True, kw_only=True)
class LitePPO(GRPO):
    """The group's mean, the batch's deviation, PPO's clipped ratio, average by token."""

    normalize: advantages.Normalize = "batch"  # std over every completion of the round
    kl_coef: float = 0.0  # no KL term
    loss_aggregation: aggregate.Aggregation = "token"  # every token of the update weighs the same
