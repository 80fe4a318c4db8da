"""Positive control: GRPO whose advantages have the wrong sign on a known share of groups.

    A_i  ->  -A_i   for every completion of a flipped group

How small a share a comparison can still tell from none is what it can see (results/calibration).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from algos import Credit, Rollouts
from algos.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class Flipped(GRPO):
    """`flipped` = 0 is GRPO, bit for bit."""

    flipped: float = 0.2  # share of a round's groups, to the nearest group

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.flipped <= 1:
            raise ValueError(f"algo.flipped: must lie in 0..1, not {self.flipped}")

    def credit(self, rollouts: Rollouts) -> Credit:
        credit = super().credit(rollouts)
        groups = int(rollouts.group_N.max()) + 1
        # drawn from the round's own tokens: another choice every round, and the same one after a resume
        drawn = torch.Generator().manual_seed(int(rollouts.tokens_NS.sum()))
        sign_P = torch.ones(groups)
        sign_P[torch.randperm(groups, generator=drawn)[: round(self.flipped * groups)]] = -1
        sign_N = sign_P.to(credit.advantage_NT.device)[rollouts.group_N]
        return replace(credit, advantage_NT=credit.advantage_NT * sign_N[:, None])
