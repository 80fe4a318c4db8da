"""Weights by how hard a group's prompt is, and by how unlike the others a completion is.

Shapes: N completions in P groups, E the width of an embedding; see `advantages`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from algos.ops.advantages import group_sum, zero_variance_groups


def _means(x_N: Tensor, group_N: Tensor, valid_N: Tensor) -> Tensor:
    """sum_{i in g} x_i / n_g.  (P,)."""
    count_P = group_sum(torch.ones_like(x_N), group_N, valid_N)
    return group_sum(x_N, group_N, valid_N) / count_P.clamp(min=1)


def difficulty_balanced(reward_N: Tensor, group_N: Tensor, valid_N: Tensor, temperature: float = 2.0) -> Tensor:
    """A_i = n (r_i - m_g) / sum_j |r_j - m_g|  x  K softmax_g(-m_g / temperature), over the K groups with a difference.

    Shape (N,).  DGPO (MathForge 83edda0): every group's advantages have a mean absolute value of its weight.
    Degenerate cases: a group whose rewards are all equal gets 0, and no share of the softmax.
    """
    mean_P, equal_P = _means(reward_N, group_N, valid_N), zero_variance_groups(reward_N, group_N, valid_N)
    apart_P = _means((reward_N - mean_P[group_N]).abs(), group_N, valid_N)
    weight_P = torch.zeros_like(mean_P)
    if bool((~equal_P).any()):
        weight_P[~equal_P] = torch.softmax(-mean_P[~equal_P] / temperature, 0) * int((~equal_P).sum())
    advantage_N = (reward_N - mean_P[group_N]) / torch.where(equal_P, 1, apart_P)[group_N] * weight_P[group_N]
    return torch.where(valid_N & ~equal_P[group_N], advantage_N, 0)


def diversity_share(embedding_NE: Tensor, group_N: Tensor, valid_N: Tensor, eps: float = 1e-6) -> Tensor:
    """w_i = 1 / (sum_{j in g} cos(e_i, e_j) + eps), i among them: 1/n where all say the same, 1 where all differ.

    Shape (N,).  DRA-GRPO (2505.09655; 0882661 grpo_trainer.py:662) multiplies rewards by it.  Degenerate cases: an
    embedding of 0 is like nothing, itself neither, and counts as alone, w = 1; so does a sum below 1, which embeddings
    that point away from each other have.
    """
    unit_NE = torch.nn.functional.normalize(embedding_NE.double(), dim=1)
    same_NN = (group_N[:, None] == group_N[None, :]) & valid_N[None, :]
    alike_N = torch.where(same_NN, unit_NE @ unit_NE.T, 0).sum(1)
    return 1 / (alike_N.clamp(min=1) + eps)


def difficulty_weight(
    advantage_N: Tensor,
    reward_N: Tensor,
    group_N: Tensor,
    valid_N: Tensor,
    low: float,
    extent: float,
    slope: float,
    center: float,
) -> Tensor:
    """w(m_g) where A_i > 0, w(1 - m_g) where not, w(x) = low + extent / (1 + e^(slope (x - center))).  Shape (N,).

    GRPO-LEAD (2504.09696), with m_g the group's mean reward, which is taken for a success rate.
    """
    mean_N = _means(reward_N, group_N, valid_N)[group_N]
    x_N = torch.where(advantage_N > 0, mean_N, 1 - mean_N)
    return low + extent * torch.sigmoid(-slope * (x_N - center))


def pass_at_k(right_N: Tensor, group_N: Tensor, valid_N: Tensor, k: int) -> Tensor:
    """A+ = (1 - R)/s,  A- = (1 - R - C(w-1, k-1)/C(n-1, k-1))/s,  R = 1 - C(w, k)/C(n, k),  s = sqrt(R (1 - R)).

    Shape (N,), float64; n valid completions of a prompt, w of them wrong (2508.10751).  They add up to 0 in a group.
    Degenerate cases: R of 0 or 1 (no subset of k is right, or none is wrong), or fewer than k completions: 0.
    """
    one_N = torch.ones(len(right_N), dtype=torch.float64, device=right_N.device)
    n_P = group_sum(one_N, group_N, valid_N)
    w_P = group_sum((~right_N).to(one_N.dtype), group_N, valid_N)
    fail_P = _ratio(w_P, n_P, k)
    fail_wrong_P = torch.where(w_P > 0, _ratio(w_P - 1, n_P - 1, k - 1), 0)
    std_P = (fail_P * (1 - fail_P)).sqrt()
    safe_P = torch.where(std_P > 0, std_P, 1)
    advantage_N = torch.where(right_N, fail_P[group_N], (fail_P - fail_wrong_P)[group_N]) / safe_P[group_N]
    return torch.where(valid_N & (std_P > 0)[group_N] & (n_P >= k)[group_N], advantage_N, 0)


def _ratio(a_P: Tensor, b_P: Tensor, k: int) -> Tensor:
    """C(a, k) / C(b, k) = prod_{i<k} (a - i)/(b - i), 0 where a < k.  (P,)."""
    ratio_P = torch.ones_like(a_P)
    for i in range(k):
        ratio_P = ratio_P * ((a_P - i) / (b_P - i).clamp(min=1)).clamp(min=0)
    return ratio_P
