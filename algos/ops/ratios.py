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
