"""A prompt's success rate, estimated with the help of other prompts.  Shapes: N completions in P groups, C clusters.

Nothing that is said of completion j of prompt i uses r_j: its own mean leaves j out, and means of prompts, their
variances and the weights that follow from them leave out prompt i.  So the gradient stays unbiased.
"""

from __future__ import annotations

import torch
from torch import Tensor

from algos.ops.advantages import baseline_values, group_sum


def moments(reward_N: Tensor, group_N: Tensor, valid_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, mean, var) of each group: mean = sum r / n, var = sum (r - mean)^2 / (n - 1).  Three (P,); var 0 at n < 2."""
    count_P = group_sum(torch.ones_like(reward_N), group_N, valid_N)
    mean_P = group_sum(reward_N, group_N, valid_N) / count_P.clamp(min=1)
    square_P = group_sum((reward_N - mean_P[group_N]) ** 2, group_N, valid_N)
    return count_P, mean_P, square_P / (count_P - 1).clamp(min=1)


def _mean(x_PP: Tensor, of_PP: Tensor) -> Tensor:
    """Row by row the mean of x where `of` is 1; 0 of none.  (P,)."""
    return torch.where(of_PP, x_PP, 0).sum(1) / of_PP.sum(1).clamp(min=1)


def _variance(x_PP: Tensor, of_PP: Tensor, ddof: int) -> Tensor:
    square_PP = (x_PP - _mean(x_PP, of_PP)[:, None]) ** 2
    return torch.where(of_PP, square_PP, 0).sum(1) / (of_PP.sum(1) - ddof).clamp(min=1)


def _share(noise: Tensor, signal: Tensor) -> Tensor:
    """noise / (noise + signal), 0 where both are 0."""
    return torch.where(noise > 0, noise / (noise + signal).clamp(min=1e-300), torch.zeros_like(noise))


def james_stein(
    reward_N: Tensor,
    group_N: Tensor,
    valid_N: Tensor,
    corrected: bool = True,
    weight: float | None = None,
) -> Tensor:
    """b_j = (1 - lambda_i) mean_{k != j} r_k + lambda_i mean_{q != i} m_q, for completion j of prompt i.  Shape (N,).

    With m_q, v_q the mean and the sample variance of prompt q's n_q rewards, over the prompts q != i of two or more,

        released    lambda = v / (v + s + 1e-6),  v = mean v_q / n_q,  s = population variance of the m_q
        corrected   lambda = v' / (v' + t),  v' = mean v_q / (n_q - 1),  t = max(0, sample variance of the m_q - v)

    (2511.03710; JSPO-Official 3f8539d core_algos.py:582, without the paper's factor (n-1)/n).  s, the variance of
    *observed* means, has the noise v in it already, and v that of n rewards where the baseline has n - 1: the released
    weight is too small.  A constant `weight` takes lambda's place: 0 is leave-one-out, 1 the other prompts' mean.
    Degenerate cases: no other prompt: leave-one-out; a lone completion has no others of its own: the other prompts'
    mean, or with none of those its own reward.
    """
    count_P, mean_P, var_P = moments(reward_N, group_N, valid_N)
    own_N = baseline_values(reward_N, group_N, valid_N, "leave_one_out")
    own_PP = torch.eye(len(count_P), dtype=torch.bool, device=reward_N.device)
    seen_PP, some_PP = (count_P > 0)[None, :] & ~own_PP, (count_P > 1)[None, :] & ~own_PP
    rows_PP = mean_P[None, :].expand(len(mean_P), -1)
    sampled_P = _mean((var_P / count_P.clamp(min=1))[None, :], some_PP)
    if weight is not None:
        lambda_P = torch.full_like(mean_P, weight)
    elif corrected:
        noise_P = _mean((var_P / (count_P - 1).clamp(min=1))[None, :], some_PP)
        lambda_P = _share(noise_P, (_variance(rows_PP, some_PP, 1) - sampled_P).clamp(min=0))
    else:
        lambda_P = sampled_P / (sampled_P + _variance(rows_PP, some_PP, 0) + 1e-6)
    others_P, alone_P = _mean(rows_PP, seen_PP), count_P <= 1
    lambda_P = torch.where(seen_PP.any(1), torch.where(alone_P, 1, lambda_P), 0)
    return (1 - lambda_P[group_N]) * own_N + lambda_P[group_N] * others_P[group_N]


def hierarchical(reward_N: Tensor, group_N: Tensor, valid_N: Tensor, cluster_P: Tensor) -> Tensor:
    """b_j = (1 - lambda) mean_{k != j} r_k + lambda [(1 - kappa) m_{c without i} + kappa m_{without c}].  Shape (N,).

    For completion j of prompt i in cluster c.  m_{c without i}: the mean of the cluster's other prompts;
    m_{without c}: that of the prompts of other clusters.  Over the prompts but i:

        lambda = v' / (v' + t_w),  v' = mean v_q / (n_q - 1),  t_w = max(0, variance of m_q inside clusters - mean
        v_q/n_q)
        kappa  = u / (u + t_b),    u = (t_w + mean v_q/n_q) / #c,     t_b = max(0, variance of clusters' means - mean u)

    Empirical Bayes on two levels: prompt, cluster, round.  With one cluster it is `james_stein(corrected=True)`.
    Degenerate cases: a prompt alone in its cluster has kappa = 1; no other cluster, kappa = 0; no other prompt,
    lambda 0.
    """
    count_P, mean_P, var_P = moments(reward_N, group_N, valid_N)
    own_N = baseline_values(reward_N, group_N, valid_N, "leave_one_out")
    size, device = len(count_P), reward_N.device
    lambda_P, target_P = torch.zeros_like(mean_P), torch.zeros_like(mean_P)
    for i in range(size):
        other_P = (count_P > 0) & (torch.arange(size, device=device) != i)
        if not bool(other_P.any()):
            continue
        lambda_P[i], target_P[i] = _of_prompt(other_P, count_P, mean_P, var_P, cluster_P, int(cluster_P[i]))
        lambda_P[i] = 1.0 if count_P[i] <= 1 else lambda_P[i]
    return (1 - lambda_P[group_N]) * own_N + lambda_P[group_N] * target_P[group_N]


def _of_prompt(
    other_P: Tensor, count_P: Tensor, mean_P: Tensor, var_P: Tensor, cluster_P: Tensor, own: int
) -> tuple[Tensor, Tensor]:
    """lambda, and what a prompt of cluster `own` is drawn to, from the other prompts."""
    some_P, zero = other_P & (count_P > 1), mean_P.new_zeros(())
    if not bool(some_P.any()):
        return zero, mean_P[other_P].mean()
    noise = (var_P[some_P] / (count_P[some_P] - 1)).mean()
    sampled = (var_P[some_P] / count_P[some_P]).mean()
    mean_C, size_C, square = [], [], zero
    for c in cluster_P[some_P].unique():
        member = mean_P[some_P & (cluster_P == c)]
        mean_C.append(member.mean())
        size_C.append(len(member))
        square = square + ((member - member.mean()) ** 2).sum()
    within = (square / max(sum(size_C) - len(size_C), 1) - sampled).clamp(min=0)
    unsure_C = torch.stack([(within + sampled) / n for n in size_C])
    between = zero
    if len(mean_C) > 1:
        between = (torch.stack(mean_C).var(correction=1) - unsure_C.mean()).clamp(min=0)
    near_P, far_P = other_P & (cluster_P == own), other_P & (cluster_P != own)
    if not bool(near_P.any()):
        target = mean_P[far_P].mean()
    elif not bool(far_P.any()):
        target = mean_P[near_P].mean()
    else:
        kappa = _share((within + sampled) / near_P.sum(), between)
        target = (1 - kappa) * mean_P[near_P].mean() + kappa * mean_P[far_P].mean()
    return _share(noise, within), target
