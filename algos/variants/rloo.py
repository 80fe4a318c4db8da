"""RLOO: REINFORCE Leave-One-Out (Back to Basics, 2402.14740).

    R_i  = r_i - beta sum_t log(pi_old(o_it) / pi_ref(o_it))
    A_i  = R_i - (1/(G-1)) sum_{j != i} R_j
    grad J = (1/N) sum_i A_i grad log pi(o_i),        log pi(o_i) = sum_t log pi(o_it)

A completion is one action: its tokens' log-probabilities are summed, not averaged.  The baseline is the mean of the
others, so it does not depend on the completion and the gradient is unbiased.  KL stands in the reward.  No ratio and no
clip: with several updates per round the later ones are a little off-policy and nothing corrects for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from algos.grpo import GRPO
from algos.ops import advantages, aggregate, policy_gradient, ratios


@dataclass(frozen=True, kw_only=True)
class RLOO(GRPO):
    """REINFORCE on whole completions with the mean of the group's others as baseline."""

    baseline: advantages.Baseline = "leave_one_out"  # mean_{j != i} R_j
    normalize: advantages.Normalize = "none"  # no division by std
    ratio: ratios.Level = "none"  # REINFORCE: no importance ratio
    clip: policy_gradient.Clip = "none"  # nothing to clip
    kl_coef: float = 0.03  # beta of the paper's experiments
    kl_placement: Literal["loss", "reward"] = "reward"  # R_i
    loss_aggregation: aggregate.Aggregation = "sum"  # log pi of the whole completion
