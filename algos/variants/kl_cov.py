"""KL-Cov: tokens that drive entropy down are held to the sampler (2505.22617).

    c_it = (A_it - mean A) (log pi(o_it) - mean log pi)                          over the round's tokens
    J    = rho A - coef |log rho| at the share of tokens with the largest c_it,  rho A elsewhere

No clip.  With one update per round |log rho| is 0 and has no slope.  verl takes c_it from the live policy and a
micro-batch; here it is the sampler's, over the whole round: at the first update the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Rollouts
from algos.grpo import GRPO
from algos.ops import aggregate, policy_gradient, ratios, select


@dataclass(frozen=True, kw_only=True)
class KLCov(GRPO):
    """GRPO's advantages, average by token, unclipped, with a pull towards the sampler at a few tokens."""

    clip: policy_gradient.Clip = "none"  # the pull stands in its place
    kl_coef: float = 0.0  # no KL to a reference
    loss_aggregation: aggregate.Aggregation = "token"  # every token of the update weighs the same
    cov_share: float = 2e-4  # of tokens that are held; verl's kl_cov_ratio
    cov_coef: float = 1.0  # of |log rho|; verl's ppo_kl_coef

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.cov_share <= 1:
            raise ValueError(f"algo.cov_share: must lie above 0 and at most at 1, not {self.cov_share}")

    def credit(self, rollouts: Rollouts) -> Credit:
        credit = super().credit(rollouts)
        mask_NT = rollouts.completion_mask_NT & credit.keep_N[:, None]
        cov_NT = select.covariance(credit.advantage_NT, rollouts.logp_NT, mask_NT)
        chosen_NT = select.top(cov_NT, mask_NT, max(int(self.cov_share * int(mask_NT.sum())), 1))
        return replace(credit, marked_NT=chosen_NT, zero_gradient_N=torch.zeros_like(credit.keep_N))

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        loss, metrics = super().loss(batch, outputs)
        r, marked_NT = batch.rollouts, batch.credit.marked_NT
        assert marked_NT is not None
        mask_NT = r.completion_mask_NT
        apart_NT = ratios.log_ratio(outputs.logp_NT, r.logp_NT, mask_NT).abs() * marked_NT
        return loss + self.cov_coef * aggregate.mean(apart_NT, mask_NT, batch.totals, self.loss_aggregation), metrics
