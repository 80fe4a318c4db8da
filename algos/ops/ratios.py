"""Importance ratios and what is done to keep them in bounds.  Shapes: (N, T); everything is 0 at mask 0."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Level = Literal["token", "sequence", "none"]


def log_ratio(new_NT: Tensor, old_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """log pi/pi_old per token, exactly 0 (and without gradient) at mask 0.

    The inputs are masked before anything is computed from them: 0 * inf is NaN, and so is the gradient of
    exp(inf) under a mask that comes later.
    """
    return torch.where(mask_NT, new_NT, 0) - torch.where(mask_NT, old_NT, 0)


def importance(new_NT: Tensor, old_NT: Tensor, mask_NT: Tensor, level: Level = "token") -> Tensor:
    """The importance ratio of each token.  Shape (N, T), 1 at mask 0.

    `token`     rho_t = pi(o_t) / pi_old(o_t)                                          (2402.03300 eq. 3)
    `sequence`  s = exp( (1/|o|) sum_t log rho_t ), the same for every token of o      (GSPO, 2507.18071)
    `none`      1, with the gradient of log pi: the loss becomes plain REINFORCE       (RGRA, 2603.18756)
    """
    if level == "none":
        new_NT = torch.where(mask_NT, new_NT, 0)
        return torch.exp(new_NT - new_NT.detach())
    log_NT = log_ratio(new_NT, old_NT, mask_NT)
    if level == "sequence":
        length_N1 = mask_NT.sum(1, keepdim=True).clamp(min=1)
        log_NT = torch.where(mask_NT, log_NT.sum(1, keepdim=True) / length_N1, 0)
    elif level != "token":
        raise ValueError(f"ratio must be token, sequence or none, not {level!r}")
    return torch.exp(log_NT)


def clipped_surrogate(
    ratio_NT: Tensor, advantage_NT: Tensor, low: float, high: float, dual: float | None = None
) -> Tensor:
    """J = min(rho A, clip(rho, 1-low, 1+high) A): what is *maximised*.  (2402.03300 eq. 3; PPO, 1707.06347.)

    low = high is the paper's; high > low is DAPO's clip-higher (2503.14476).  With `dual` = c, J is at least
    c A where A < 0 (1912.09729; c > 1).  Infinite bounds give rho A.  At rho = 1 the gradient is that of
    A log pi, for any bounds.
    """
    clipped_NT = ratio_NT.clamp(1 - low, 1 + high)
    objective_NT = torch.minimum(ratio_NT * advantage_NT, clipped_NT * advantage_NT)
    if dual is not None:
        floor_NT = torch.where(advantage_NT < 0, dual * advantage_NT, -torch.inf)
        objective_NT = torch.maximum(objective_NT, floor_NT)
    return objective_NT


def clipped_weight(
    ratio_NT: Tensor, new_NT: Tensor, advantage_NT: Tensor, mask_NT: Tensor, low: float, high: float
) -> Tensor:
    """J = sg(clip(rho, 1-low, 1+high)) A log pi: the *weight* is clipped, so no token loses its gradient.

    CISPO, 2506.13585 (whose lower side is open: low >= 1).
    """
    weight_NT = ratio_NT.detach().clamp(1 - low, 1 + high)
    return weight_NT * advantage_NT * torch.where(mask_NT, new_NT, 0)


def geometric_mean(
    new_NT: Tensor, old_NT: Tensor, advantage_NT: Tensor, mask_NT: Tensor, low: float, high: float
) -> Tensor:
    """s = exp( (1/|o|) sum_t min[z_t, clip(z_t, -low, high)] ),  z_t = log rho_t,  for A > 0; the maximum for A < 0.

    Shape (N, T), the same for every token of o, 1 at mask 0.  GMPO (2507.20673): tokens are clipped one by one, in log
    space and only on the side that their advantage pushes them to, and the completion has the geometric mean of what is
    left.  Infinite bounds give `importance(level="sequence")`.  A completion without tokens has 1.
    """
    log_NT = log_ratio(new_NT, old_NT, mask_NT)
    clipped_NT = log_NT.clamp(-low, high)
    kept_NT = torch.where(advantage_NT < 0, torch.maximum(log_NT, clipped_NT), torch.minimum(log_NT, clipped_NT))
    mean_N1 = kept_NT.sum(1, keepdim=True) / mask_NT.sum(1, keepdim=True).clamp(min=1)
    return torch.exp(torch.where(mask_NT, mean_N1, 0))


def soft_gate(ratio_NT: Tensor, advantage_NT: Tensor, positive: float, negative: float) -> Tensor:
    """J = (4 / tau) sigmoid(tau (rho - 1)) A,  tau = `positive` where A > 0, else `negative`: SAPO, 2511.20347.

    In the place of a bound a slope that fades: dJ/drho = 4 sigma (1 - sigma) A, which is A at rho = 1 for any tau.  At
    rho = 1 the value is 2 A / tau.
    """
    tau_NT = torch.full_like(ratio_NT, negative).masked_fill(advantage_NT > 0, positive)
    return torch.sigmoid(tau_NT * (ratio_NT - 1)) * (4 / tau_NT) * advantage_NT


def within_divergence(
    new_NT: Tensor,
    old_NT: Tensor,
    advantage_NT: Tensor,
    mask_NT: Tensor,
    low: float,
    high: float,
    divergence: Literal["tv", "kl"] = "tv",
) -> Tensor:
    """1 where a token may still move: its probability has not gone further than a bound, the way its advantage pushes.

    DPPO (2602.04879), with the divergence of the two-valued distribution {this token, any other}, p = pi, q = pi_old:

        tv   p - q <= high where A > 0;  q - p <= low where not
        kl   q log(q/p) + (1-q) log((1-q)/(1-p)) <= high or low, or p has moved the other way

    Shape (N, T), bool, without gradient.  A ratio is no distance: 0.001 -> 0.002 doubles and hardly moves; 0.5 -> 0.9
    moves a lot.
    """
    new_NT, old_NT = torch.where(mask_NT, new_NT.detach(), 0), torch.where(mask_NT, old_NT, 0)
    p_NT, q_NT, up_NT = new_NT.exp(), old_NT.exp(), advantage_NT > 0
    if divergence == "tv":
        return torch.where(up_NT, p_NT - q_NT <= high, p_NT - q_NT >= -low)
    if divergence != "kl":
        raise ValueError(f"divergence must be tv or kl, not {divergence!r}")
    rest_NT = (1 - q_NT) * torch.log((1 - q_NT + 1e-8) / (1 - p_NT + 1e-8))  # 1e-8: a token of probability 1
    kl_NT = q_NT * (old_NT - new_NT) + rest_NT
    return torch.where(up_NT, (kl_NT <= high) | (p_NT <= q_NT), (kl_NT <= low) | (p_NT >= q_NT))


def clip_fractions(
    ratio_NT: Tensor, advantage_NT: Tensor | None, mask_NT: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """Where a bound acts: 1{rho < 1-low, A < 0} and 1{rho > 1+high, A > 0}, the tokens whose gradient
    `clipped_surrogate` cuts.  Without an advantage the sign does not matter: the weights that
    `clipped_weight` (2506.13585) clips.  Two (N, T) floats, 0 at mask 0.
    """
    below_NT, above_NT = mask_NT & (ratio_NT < 1 - low), mask_NT & (ratio_NT > 1 + high)
    if advantage_NT is not None:
        below_NT, above_NT = below_NT & (advantage_NT < 0), above_NT & (advantage_NT > 0)
    return below_NT.to(ratio_NT.dtype), above_NT.to(ratio_NT.dtype)
