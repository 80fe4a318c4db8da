"""The policy-gradient objective that GRPO and PPO share: a clipped ratio, a KL penalty, an entropy bonus.

Shapes: (N, T); everything is 0 at mask 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from algos.ops import kl, ratios

Clip = Literal["surrogate", "weight", "soft", "tv", "kl", "none"]
Ratio = Literal["token", "sequence", "geometric", "none"]  # geometric: ratios.geometric_mean; others: .importance


def objective(
    logp_NT: Tensor,
    old_NT: Tensor,
    advantage_NT: Tensor,
    mask_NT: Tensor,
    low: float,
    high: float,
    *,
    dual: float | None = None,
    ratio: Ratio = "token",
    clip: Clip = "surrogate",
    gate: tuple[float, float] = (1.0, 1.0),
) -> tuple[Tensor, dict[str, Tensor]]:
    """J per token, to be *maximised*, and the per-token metrics `clip_ratio/low` and `clip_ratio/high`.

    | clip        | J                                                        | source                     |
    |-------------|----------------------------------------------------------|----------------------------|
    | `surrogate` | min(rho A, clip(rho, 1-low, 1+high) A), with dual clip   | 2402.03300 eq. 3, 1912.09729 |
    | `weight`    | sg(clip(rho, 1-low, 1+high)) A log pi                    | CISPO, 2506.13585          |
    | `soft`      | (4 / tau) sigmoid(tau (rho - 1)) A, tau of `gate`        | SAPO, 2511.20347           |
    | `tv`, `kl`  | rho A where the token's divergence is within low, high   | DPPO, 2602.04879           |
    | `none`      | rho A                                                    | REINFORCE with importance  |

    rho is pi / pi_old per token, or per sequence (`ratio`); with `ratio="geometric"` (GMPO, 2507.20673) the tokens'
    log-ratios are clipped to [-low, high] before their mean is taken, and J = s A.  At rho = 1 the gradient is that of
    A log pi for all of them.
    """
    if ratio == "geometric":
        ratio_NT = ratios.geometric_mean(logp_NT, old_NT, advantage_NT, mask_NT, low, high)
        log_NT = ratios.log_ratio(logp_NT.detach(), old_NT, mask_NT)  # bounds are those of log rho, not of rho - 1
        return ratio_NT * advantage_NT, _clip_metrics(1 + log_NT, advantage_NT, mask_NT, low, high)
    ratio_NT = ratios.importance(logp_NT, old_NT, mask_NT, ratio)
    if clip == "weight":
        objective_NT = ratios.clipped_weight(ratio_NT, logp_NT, advantage_NT, mask_NT, low, high)
        return objective_NT, _clip_metrics(ratio_NT, None, mask_NT, low, high)
    if clip in ("tv", "kl"):
        within_NT = ratios.within_divergence(
            logp_NT, old_NT, advantage_NT, mask_NT, low, high, "tv" if clip == "tv" else "kl"
        )
        stopped_NT = mask_NT & ~within_NT
        metrics = _halves(stopped_NT & (advantage_NT < 0), stopped_NT & (advantage_NT > 0), ratio_NT)
        return torch.where(within_NT, ratio_NT * advantage_NT, 0), metrics
    if clip in ("soft", "none"):
        low, high = torch.inf, torch.inf
    if clip == "soft":
        objective_NT = ratios.soft_gate(ratio_NT, advantage_NT, *gate)
    else:
        objective_NT = ratios.clipped_surrogate(ratio_NT, advantage_NT, low, high, dual)
    return objective_NT, _clip_metrics(ratio_NT, advantage_NT, mask_NT, low, high)


def _clip_metrics(
    ratio_NT: Tensor, advantage_NT: Tensor | None, mask_NT: Tensor, low: float, high: float
) -> dict[str, Tensor]:
    below_NT, above_NT = ratios.clip_fractions(ratio_NT.detach(), advantage_NT, mask_NT, low, high)
    return {"clip_ratio/low": below_NT, "clip_ratio/high": above_NT}


def _halves(below_NT: Tensor, above_NT: Tensor, like_NT: Tensor) -> dict[str, Tensor]:
    return {"clip_ratio/low": below_NT.to(like_NT.dtype), "clip_ratio/high": above_NT.to(like_NT.dtype)}


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
    kl_score: bool = False,
    entropy_coef: float = 0.0,
    proximal_coef: float = 0.0,
) -> Tensor:
    """J - beta KL - c_p (log rho)^2 + c H per token: the penalty of 2402.03300 eq. 3, where beta is `kl_coef`, a pull
    towards the sampler (prime-rl), and an entropy bonus.

    `kl_importance` multiplies the penalty by rho, with its gradient (DeepSeek-V3.2); `kl_score` by
    exp(log pi - sg(log pi)): the same value, and the gradient of which token is sampled besides (2506.09477).  With all
    coefficients 0 it is J itself, and `ref_NT` is not read.
    """
    if kl_coef:
        assert ref_NT is not None
        penalty_NT = kl.estimate(logp_NT, ref_NT, mask_NT, kl_estimator)
        if kl_importance:
            penalty_NT = penalty_NT * ratios.importance(logp_NT, old_NT, mask_NT)
        if kl_score:
            penalty_NT = penalty_NT * ratios.importance(logp_NT, old_NT, mask_NT, "none")
        objective_NT = objective_NT - kl_coef * penalty_NT
    if proximal_coef:
        objective_NT = objective_NT - proximal_coef * ratios.log_ratio(logp_NT, old_NT, mask_NT) ** 2
    if entropy_coef:
        objective_NT = objective_NT + entropy_coef * entropy_NT
    return objective_NT
