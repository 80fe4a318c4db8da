"""Dr. GRPO: GRPO without its two biases (Understanding R1-Zero-Like Training, 2503.20783).

    A_i  = r_i - mean_g r
    J    = (1/N) sum_i (1/T_max) sum_t min[rho A_i, clip(rho, 1-lo, 1+hi) A_i]

No deviation, which gives very easy and very hard prompts more weight; a constant T_max (`max_new_tokens`) in the place
of |o_i|, which lets long wrong completions off lightly.  No KL.  A_i is RLOO's times (G-1)/G.
"""

from __future__ import annotations

from dataclasses import dataclass

from algos.grpo import GRPO
from algos.ops import advantages, aggregate


@dataclass(frozen=True, kw_only=True)
class DrGRPO(GRPO):
    """GRPO's clipped ratio with A_i = r_i - mean_g r, summed over tokens and divided by a constant."""

    normalize: advantages.Normalize = "none"  # no division by std
    loss_aggregation: aggregate.Aggregation = "horizon"  # 1/T_max for every completion
    kl_coef: float = 0.0  # no KL term
