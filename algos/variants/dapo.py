"""DAPO: Decoupled Clip and Dynamic sAmpling Policy Optimization (2503.14476), its loss.

    A_i  = (r_i - mean_g r) / std_g r
    J    = (1 / sum_i |o_i|) sum_i sum_t min[rho A_i, clip(rho, 1-0.2, 1+0.28) A_i]                          (eq. 8)

over the groups that are neither all right nor all wrong.  The paper draws until it has enough such groups; here the
others leave the update and its denominators, and what they cost stays charged.  No KL.  The paper's two measures
against overlong completions are settings: `algo.drop_truncated=true` leaves truncated ones out of the loss,
`reward_weights.length=1` is the soft penalty (eq. 13).  The paper makes 16 updates per round: `algo.minibatches=16`.
"""

from __future__ import annotations

from dataclasses import dataclass

from algos.grpo import GRPO
from algos.ops import aggregate, select


@dataclass(frozen=True, kw_only=True)
class DAPO(GRPO):
    """GRPO's advantages, clip-higher, average by token, groups with a difference alone."""

    clip_high: float = 0.28  # clip-higher: room for unlikely tokens
    kl_coef: float = 0.0  # no KL term
    loss_aggregation: aggregate.Aggregation = "token"  # every token of the update weighs the same
    filter_groups: select.GroupFilter = "zero_variance"  # 0 < #correct < G, without drawing others
