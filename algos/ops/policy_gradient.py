"""The policy-gradient objective that GRPO and PPO share: a clipped ratio, a KL penalty, an entropy bonus.

Shapes: (N, T); everything is 0 at mask 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from algos.ops import kl, ratios

Clip = Literal["surrogate", "weight", "none"]


def objective(
    logp_NT: Tensor,
    old_NT: Tensor,
    advantage_NT: Tensor,
    mask_NT: Tensor,
    low: float,
    high: float,
    *,
    dual: float | None = None,
    ratio: ratios.Level = "token",
    clip: Clip = "surrogate",
) -> tuple[Tensor, dict[str, Tensor]]:
    """J per token, to be *maximised*, and the per-token metrics `clip_ratio/low` and `clip_ratio/high`.

    | clip        | J                                                        | source                     |
    |-------------|----------------------------------------------------------|----------------------------|
    | `surrogate` | min(rho A, clip(rho, 1-low, 1+high) A), with dual clip   | 2402.03300 eq. 3, 1912.09729 |
    | `weight`    | sg(clip(rho, 1-low, 1+high)) A log pi                    | CISPO, 2506.13585          |
    | `none`      | rho A                                                    | REINFORCE with importance  |

    rho is pi / pi_old per token, or per sequence (`ratio`).  At rho = 1 the gradient is that of A log pi for all three.
    """
    ratio_NT = ratios.importance(logp_NT, old_NT, mask_NT, ratio)
    low, high = (low, high) if clip != "none" else (torch.inf, torch.inf)
    if clip == "weight":
        objective_NT = ratios.clipped_weight(ratio_NT, logp_NT, advantage_NT, mask_NT, low, high)
    else:
        objective_NT = ratios.clipped_surrogate(ratio_NT, advantage_NT, low, high, dual)
    clipped_by = None if clip == "weight" else advantage_NT
    below_NT, above_NT = ratios.clip_fractions(ratio_NT.detach(), clipped_by, mask_NT, low, high)
    return objective_NT, {"clip_ratio/low": below_NT, "clip_ratio/high": above_NT}


def regularised(
    objective_NT: Tensor,
    logp_NT: Tensor,
    old_NT: Tensor,
    ref_NT: Tensor | None,
    entropy_NT: Tensor,
    mask_NT: Tensor,
    *,
    kl_coef: float,
    kl_estimator: kl.Estimator = "k3",
    kl_importance: bool = False,
    entropy_coef: float = 0.0,
) -> Tensor:
    """J - beta KL + c H per token: the penalty of 2402.03300 eq. 3, where beta is `kl_coef`, and an entropy bonus.

    `kl_importance` multiplies the penalty by rho, with its gradient (DeepSeek-V3.2).  With both coefficients 0 it is J
    itself, and `ref_NT` is not read.
    """
    if kl_coef:
        assert ref_NT is not None
        penalty_NT = kl.estimate(logp_NT, ref_NT, mask_NT, kl_estimator)
        if kl_importance:
            penalty_NT = penalty_NT * ratios.importance(logp_NT, old_NT, mask_NT)
        objective_NT = objective_NT - kl_coef * penalty_NT
    if entropy_coef:
        objective_NT = objective_NT + entropy_coef * entropy_NT
    return objective_NT
