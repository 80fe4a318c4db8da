"""GRPO-LEAD: advantages weighed by difficulty (2504.09696; aeroplanepaper/GRPO-LEAD 9344bef core_algos.py:166).

    z_i  = (r_i - mean_g r) / std_g r          sample deviation
    A_i  = z_i w(p_g) where z_i > 0, z_i w(1 - p_g) where not,       w(x) = 0.4 + 1.1 / (1 + e^(10 (x - 0.75)))

p_g is the group's mean reward: a right answer to a hard prompt weighs 1.5, to an easy one 0.5, and a wrong one the
other way round.  The paper's length-shaped reward and penalty are rewards: `reward_weights.length`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algos.core.types import Rollouts
from algos.grpo import GRPO
from algos.ops import reweighting


@dataclass(frozen=True, kw_only=True)
class LEAD(GRPO):
    """GRPO's advantages, times a weight that falls as the group's success rises."""

    std_ddof: int = 1  # the sample's
    kl_coef: float = 0.0  # no KL term; chosen
    weight_low: float = 0.4  # what a right answer to an easy prompt is worth, nearly
    weight_range: float = 1.1  # how much more a right answer to a hard one is
    weight_slope: float = 10.0  # how sharply
    weight_center: float = 0.75  # at which success rate

    def outcome_advantages(self, reward_N: Tensor, valid_N: Tensor, r: Rollouts) -> Tensor:
        advantage_N = super().outcome_advantages(reward_N, valid_N, r)
        shape = (self.weight_low, self.weight_range, self.weight_slope, self.weight_center)
        return advantage_N * reweighting.difficulty_weight(advantage_N, reward_N, r.group_N, valid_N, *shape)
