"""Per-token estimates of KL(pi || pi_ref) from sampled tokens.

With x = log pi(o_t) - log pi_ref(o_t), o_t ~ pi.  What each estimates and what its gradient is *as a loss*
are different questions (tests/algos/test_kl.py differentiates all of them on an enumerated softmax):

| name | value         | as an estimate of KL(pi || ref) | expected on-policy gradient as a loss  |
|------|---------------|---------------------------------|----------------------------------------|
| k1   | x             | unbiased, high variance         | 0: it regularises nothing              |
| k2   | x^2 / 2       | biased, low variance            | grad KL(pi || ref)                     |
| k3   | e^-x - 1 + x  | unbiased, >= 0                  | grad KL(ref || pi)                     |

Sources: 2402.03300 eq. 4 (k3); 2510.01555.  In the reward, k1 with reward-to-go gives the gradient of
KL(pi || ref), the effect of a token on later states included.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from algos.ops.ratios import log_ratio

Estimator = Literal["k1", "k2", "k3"]


def estimate(new_NT: Tensor, ref_NT: Tensor, mask_NT: Tensor, estimator: Estimator = "k3") -> Tensor:
    """k1 = x, k2 = x^2 / 2 or k3 = e^-x - 1 + x per token (2402.03300 eq. 4 is k3).  Shape (N, T), 0 at mask 0."""
    x_NT = log_ratio(new_NT, ref_NT, mask_NT)
    if estimator == "k1":
        return x_NT
    if estimator == "k2":
        return x_NT**2 / 2
    if estimator == "k3":
        return torch.expm1(-x_NT) + x_NT
    raise ValueError(f"kl_estimator must be k1, k2 or k3, not {estimator!r}")


def adapted(coef: float, kl: float, target: float, count: int, horizon: float) -> float:
    """beta' = beta (1 + clip(KL / target - 1, -0.2, 0.2) min(count / horizon, 1)): the controller of 1909.08593 §2.2.

    `kl` is the mean sequence-level KL in nats (summed over a completion's tokens), as `target`; `count` completions
    were seen.  Beta moves by at most 20 % at a time, and stays above 0, also where one round has more completions than
    the horizon (a bound of ours).  At KL = target, or count = 0, beta is unchanged.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coef * (1 + error * min(count / horizon, 1.0))
