"""Negative control: GRPO that is rewarded by a fair coin, whatever the completion says.

    r_i ~ Bernoulli(1/2),  independent of the completion

The verifier still measures the truth (`reward` and `accuracy` in the metrics are the real ones); only the credit is
random, so that whatever accuracy is gained or lost is not learned from rewards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from algos import Credit, Rollouts
from algos.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class Coin(GRPO):
    def credit(self, rollouts: Rollouts) -> Credit:
        assert rollouts.reward_N is not None
        # drawn from the round's own tokens: other tosses every round, and the same ones after a resume
        drawn = torch.Generator().manual_seed(int(rollouts.tokens_NS.sum()))
        tossed_N = torch.randint(0, 2, rollouts.reward_N.shape, generator=drawn)
        return super().credit(replace(rollouts, reward_N=tossed_N.to(rollouts.reward_N)))
