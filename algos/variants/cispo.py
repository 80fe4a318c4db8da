"""CISPO: Clipped IS-weight Policy Optimization (MiniMax-M1, 2506.13585).

    A_i  = (r_i - mean_g r) / std_g r
    J    = (1 / sum_i |o_i|) sum_i sum_t sg(clip(rho, 0, 1+hi)) A_i log pi(o_it)

The importance weight is clipped and carries no gradient (sg), so that every token keeps its own: a surrogate's clip
cuts off just the rare tokens whose probability moves most.  The lower side is open.  No KL.  The paper tunes the upper
bound alone; chosen: a weight of at most 5, as ScaleRL has it (2510.13786).  The paper makes 16 updates per round:
`algo.minibatches=16`.
"""

from __future__ import annotations

from dataclasses import dataclass

from algos.grpo import GRPO
from algos.ops import aggregate, policy_gradient


@dataclass(frozen=True, kw_only=True)
class CISPO(GRPO):
    """GRPO's advantages, REINFORCE with a clipped importance weight, average by token."""

    clip: policy_gradient.Clip = "weight"  # sg(clip(rho)) A log pi
    clip_low: float = 1.0  # open: a ratio is never below 0
    clip_high: float = 4.0  # a weight of at most 5; chosen: ScaleRL's
    kl_coef: float = 0.0  # no KL term
    loss_aggregation: aggregate.Aggregation = "token"  # every token of the update weighs the same
