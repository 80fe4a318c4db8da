"""GSPO: Group Sequence Policy Optimization (2507.18071).

    A_i  = (r_i - mean_g r) / std_g r
    s_i  = (pi(o_i) / pi_old(o_i))^(1/|o_i|) = exp( (1/|o_i|) sum_t log rho_it )
    J    = (1/N) sum_i min[s_i A_i, clip(s_i, 1-3e-4, 1+4e-4) A_i]

One ratio per sequence, because the reward is the sequence's; a ratio of geometric means is close to 1, so the bounds
are narrow.  No KL.  With completions of one token it is GRPO with these bounds, and with one update per round GRPO
without KL: the paper makes 4 updates per round, `algo.minibatches=4`.
"""

from __future__ import annotations

from dataclasses import dataclass

from algos.grpo import GRPO
from algos.ops import ratios


@dataclass(frozen=True, kw_only=True)
class GSPO(GRPO):
    """GRPO's advantages and averaging, with the clipped ratio of whole sequences."""

    ratio: ratios.Level = "sequence"  # s_i
    clip_low: float = 3e-4  # the paper's left bound
    clip_high: float = 4e-4  # and its right bound
    kl_coef: float = 0.0  # no KL term
