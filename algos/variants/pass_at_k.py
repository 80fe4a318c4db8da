"""Pass@k training, analytic: a group is rewarded for its best of k (2508.10751).

    R    = 1 - C(n_wrong, k)/C(n, k),  s = sqrt(R (1 - R))            of n completions of a prompt
    A+   = (1 - R) / s,   A- = (1 - R - C(n_wrong - 1, k - 1)/C(n - 1, k - 1)) / s

The mean over all subsets of k, without drawing them.  It ascends (2/k) arcsin sqrt pass@k; k = 1 is GRPO.  A wrong
completion is blamed for the subsets that it makes fail.  Right is a reward of `reward_threshold` or more.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algos.core.types import Rollouts, Schedule
from algos.grpo import GRPO
from algos.ops import reweighting


@dataclass(frozen=True, kw_only=True)
class PassAtK(GRPO):
    """GRPO with the analytic advantages of pass@k."""

    kl_coef: float = 0.0  # no KL term; chosen
    k: int = 4  # of how many one must be right
    reward_threshold: float = 1.0  # right is a completion whose reward reaches this

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"algo.k: must be at least 1, not {self.k}")

    def schedule(self, base: Schedule) -> Schedule:
        if self.k > base.group_size:
            raise ValueError(f"algo.k: at most the group's size, {base.group_size}, not {self.k}")
        return super().schedule(base)

    def outcome_advantages(self, reward_N: Tensor, valid_N: Tensor, r: Rollouts) -> Tensor:
        return reweighting.pass_at_k(reward_N >= self.reward_threshold, r.group_N, valid_N, self.k).to(reward_N.dtype)
