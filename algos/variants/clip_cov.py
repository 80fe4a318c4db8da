"""Clip-Cov: tokens that drive entropy down leave the gradient (2505.22617).

    c_it = (A_it - mean A) (log pi(o_it) - mean log pi)                          over the round's tokens
    J    = GRPO's clipped term, 0 at a share of the tokens with lo < c_it < hi, drawn at random

A likely token with a high advantage is what makes a policy sure of itself: c_it is its part of the covariance
that entropy falls by.  verl takes c_it from the live policy and a micro-batch; here it is the sampler's, over the whole
round, so that micro-batches change nothing: at the first update the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Rollouts
from algos.grpo import GRPO
from algos.ops import aggregate, select


@dataclass(frozen=True, kw_only=True)
class ClipCov(GRPO):
    """GRPO's advantages, average by token, without the gradient of a few tokens."""

    kl_coef: float = 0.0  # no KL term
    loss_aggregation: aggregate.Aggregation = "token"  # every token of the update weighs the same
    cov_share: float = 2e-4  # of tokens that are taken out; verl's clip_cov_ratio
    cov_low: float = 1.0  # least covariance of those; verl's
    cov_high: float = 5.0  # largest; verl's

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.cov_share <= 1:
            raise ValueError(f"algo.cov_share: must lie above 0 and at most at 1, not {self.cov_share}")

    def credit(self, rollouts: Rollouts) -> Credit:
        credit = super().credit(rollouts)
        mask_NT = rollouts.completion_mask_NT & credit.keep_N[:, None]
        cov_NT = select.covariance(credit.advantage_NT, rollouts.logp_NT, mask_NT)
        between_NT = mask_NT & (cov_NT > self.cov_low) & (cov_NT < self.cov_high)
        count = max(int(self.cov_share * int(mask_NT.sum())), 1)
        seed = int(rollouts.tokens_NS.sum()) % (1 << 31)  # of the round: a resumed run draws the same tokens
        chosen_NT = select.drawn(between_NT, count, torch.Generator().manual_seed(seed))
        return replace(credit, marked_NT=chosen_NT)

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        marked_NT = batch.credit.marked_NT
        assert marked_NT is not None
        still = replace(outputs, logp_NT=torch.where(marked_NT, outputs.logp_NT.detach(), outputs.logp_NT))
        muted = replace(batch, credit=replace(batch.credit, advantage_NT=batch.credit.advantage_NT * ~marked_NT))
        return super().loss(muted, still)
