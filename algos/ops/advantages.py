"""Baselines and scales: what a reward is compared with, and what the difference is measured in.

Shapes: N completions in P groups.  `group_N[i]` in 0..P-1; `valid_N` (bool) is 0 for a completion that has left
its group: it counts in no mean and no deviation, and its own result is 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Baseline = Literal["none", "group", "leave_one_out", "length", "batch"]
Normalize = Literal["none", "group", "batch", "others", "mean", "beta"]
StepReduction = Literal["sum", "mean"]


def group_sum(x_N: Tensor, group_N: Tensor, valid_N: Tensor) -> Tensor:
    """s_g = sum_{i in g} x_i over the valid members of each group.  Shape (P,), P = 1 + max(group_N)."""
    groups = int(group_N.max()) + 1
    return x_N.new_zeros(groups).index_add_(0, group_N, torch.where(valid_N, x_N, 0))


def baseline_values(
    reward_N: Tensor, group_N: Tensor, valid_N: Tensor, baseline: Baseline, length_N: Tensor | None = None
) -> Tensor:
    """The number each reward is compared with.  Shape (N,).

    | `baseline`      | baseline of completion i in group g                              | source             |
    |-----------------|------------------------------------------------------------------|--------------------|
    | `none`          | 0                                                                | REINFORCE          |
    | `group`         | mean_j r_j                                                       | 2402.03300 §4.1.2  |
    | `leave_one_out` | mean_{j != i} r_j                                                | RLOO, 2402.14740   |
    | `length`        | sum_j len_j r_j / sum_j len_j                                    | OPO, 2505.23585    |
    | `batch`         | the mean over every group's completions                          | REINFORCE++        |

    Degenerate cases: in a group of one, `group` is the reward itself (advantage 0) and so is `leave_one_out`,
    which has no one else to ask.  Where all are equal the baseline is their value itself, to the last bit (a
    float mean of equal numbers need not be).  `length` needs `length_N` (tokens).
    """
    if baseline == "none":
        return torch.zeros_like(reward_N)
    weight_N = torch.ones_like(reward_N)
    if baseline == "length":
        if length_N is None:
            raise ValueError("baseline 'length' needs the completions' lengths")
        weight_N = length_N.to(reward_N.dtype)
    elif baseline == "batch":
        group_N = torch.zeros_like(group_N)
    elif baseline not in ("group", "leave_one_out"):
        raise ValueError(f"baseline must be none, group, leave_one_out, length or batch, not {baseline!r}")
    count_N = group_sum(weight_N, group_N, valid_N)[group_N]
    sum_N = group_sum(weight_N * reward_N, group_N, valid_N)[group_N]
    if baseline == "leave_one_out":
        sum_N, count_N = sum_N - reward_N, count_N - 1
    return torch.where(
        zero_variance_groups(reward_N, group_N, valid_N)[group_N], reward_N, sum_N / count_N.clamp(min=1)
    )


def scale(
    x_N: Tensor, group_N: Tensor, valid_N: Tensor, normalize: Normalize, ddof: int = 0, eps: float = 0.0
) -> Tensor:
    """What an advantage is divided by.  Shape (N,).

    | `normalize` | divisor of completion i in group g                                         | source            |
    |-------------|----------------------------------------------------------------------------|-------------------|
    | `none`      | 1                                                                          | 2503.20783        |
    | `group`     | sqrt(sum_j (x_j - mean x)^2 / (n - ddof)) + eps over the completion's group | 2402.03300 §4.1.2 |
    | `batch`     | the same over all valid completions                                        | 2508.08221        |
    | `others`    | the same over the group's others, j != i                                   | NeMo-RL           |
    | `mean`      | mean_j x_j, infinite where it is not above 0                               | MaxRL, 2602.02710 |
    | `beta`      | Beta density of mean_j x_j, fitted to the round's prompts                  | BNPO, 2506.02864  |

    2402.03300 writes `std` without saying which; ddof 0 is the population's, 1 the sample's, as torch.std has it.
    Degenerate case: where all members are *equal* the deviation is 1, not "0 + eps", so that x minus its mean
    stays exactly 0 and no float noise is blown up; a lone completion has no others, and is divided by 1.
    """
    if normalize == "none":
        return torch.ones_like(x_N)
    if normalize == "others":
        return deviation_of_others(x_N, group_N, valid_N, ddof, eps)
    if normalize == "beta":
        return beta_density(x_N, group_N, valid_N)
    if normalize == "batch":
        group_N = torch.zeros_like(group_N)
    elif normalize not in ("group", "mean"):
        raise ValueError(f"normalize must be none, group, batch, others, mean or beta, not {normalize!r}")
    count_P = group_sum(torch.ones_like(x_N), group_N, valid_N)
    mean_P = group_sum(x_N, group_N, valid_N) / count_P.clamp(min=1)
    if normalize == "mean":
        return torch.where(mean_P > 0, mean_P, torch.inf)[group_N]
    square_P = group_sum((x_N - mean_P[group_N]) ** 2, group_N, valid_N)
    std_P = (square_P / (count_P - ddof).clamp(min=1)).sqrt() + eps
    return torch.where(zero_variance_groups(x_N, group_N, valid_N), 1, std_P)[group_N]


def deviation_of_others(x_N: Tensor, group_N: Tensor, valid_N: Tensor, ddof: int = 0, eps: float = 0.0) -> Tensor:
    """s_i = sqrt(sum_{j != i} (x_j - mean_{k != i} x_k)^2 / (n - 1 - ddof)) + eps, over the valid others of i's group.

    Shape (N,).  1 where the others are all equal, or fewer than two: what has no spread is not sharpened (NeMo-RL).
    """
    same_NN = (group_N[:, None] == group_N[None, :]) & valid_N[None, :]
    same_NN = same_NN & ~torch.eye(len(x_N), dtype=torch.bool, device=x_N.device)
    count_N = same_NN.sum(1)
    mean_N = torch.where(same_NN, x_N, 0).sum(1) / count_N.clamp(min=1)
    square_N = torch.where(same_NN, (x_N[None, :] - mean_N[:, None]) ** 2, 0).sum(1)
    low_N = torch.where(same_NN, x_N, torch.inf).amin(1)
    high_N = torch.where(same_NN, x_N, -torch.inf).amax(1)
    return torch.where(low_N >= high_N, 1, (square_N / (count_N - ddof).clamp(min=1)).sqrt() + eps)


def beta_density(x_N: Tensor, group_N: Tensor, valid_N: Tensor) -> Tensor:
    """f(p_g; 1 + a/3, 1 + b/3), p_g = mean_{j in g} x_j: the Beta density that BNPO divides by (2506.02864).  Shape
    (N,).

    (a, b) are fitted to the groups' means by their mean m and population variance v: a = m (m (1 - m) / v - 1),
    b = (1 - m) (m (1 - m) / v - 1).  At (1, 1) nothing is scaled, at (3/2, 3/2) the density is (8/pi) sqrt(p (1 - p)):
    GRPO, but for a constant.  Degenerate cases: equal means, or a variance that no Beta has, scale nothing; a group
    whose members are all equal is divided by 1.  Raises ValueError where a reward is not in 0..1.
    """
    if bool((valid_N & ((x_N < 0) | (x_N > 1))).any()):
        raise ValueError("algo.normalize: beta takes rewards for successes: they must lie in 0..1")
    count_P = group_sum(torch.ones_like(x_N), group_N, valid_N)
    mean_P = group_sum(x_N, group_N, valid_N) / count_P.clamp(min=1)
    known_P = mean_P[count_P > 0]
    if len(known_P) < 2:
        return torch.ones_like(x_N)
    mean, variance = known_P.mean(), known_P.var(unbiased=False)
    if not 0 < variance < mean * (1 - mean):
        return torch.ones_like(x_N)
    common = mean * (1 - mean) / variance - 1
    alpha, beta = 1 + mean * common / 3, 1 + (1 - mean) * common / 3
    log_norm = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
    density_P = (torch.xlogy(alpha - 1, mean_P) + torch.xlogy(beta - 1, 1 - mean_P) - log_norm).exp()
    return torch.where(zero_variance_groups(x_N, group_N, valid_N), 1, density_P)[group_N]


def zero_variance_groups(x_N: Tensor, group_N: Tensor, valid_N: Tensor) -> Tensor:
    """Groups whose members are all equal: min_{i in g} x_i = max_{i in g} x_i, tested by equality, not by std.

    Shape (P,), bool; over valid members.  A group without valid members is one of them.
    """
    groups = int(group_N.max()) + 1
    low_P = x_N.new_full((groups,), torch.inf).scatter_reduce_(0, group_N[valid_N], x_N[valid_N], "amin")
    high_P = x_N.new_full((groups,), -torch.inf).scatter_reduce_(0, group_N[valid_N], x_N[valid_N], "amax")
    return low_P >= high_P


def group_advantages(
    reward_N: Tensor,
    group_N: Tensor,
    valid_N: Tensor,
    baseline: Baseline = "group",
    normalize: Normalize = "group",
    ddof: int = 0,
    length_N: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    """A_i = (r_i - baseline_i) / scale_i, 0 for rows that are not valid.  Shape (N,).

    GRPO's outcome supervision by default (2402.03300 §4.1.2).  Rewards [1, 0, 0, 0] in one group: mean 1/4,
    std sqrt(3)/4, advantages [sqrt(3), -1/sqrt(3), ...].

    `normalize="batch"` is the deviation of the rewards themselves, whatever the baseline, as Lite PPO's authors and TRL
    have it; REINFORCE++'s baseline variant divides by that of the *centred* rewards (`whiten`).
    """
    centred_N = reward_N - baseline_values(reward_N, group_N, valid_N, baseline, length_N)
    advantage_N = centred_N / scale(reward_N, group_N, valid_N, normalize, ddof, eps)
    return torch.where(valid_N, advantage_N, 0)


def process(
    step_reward_NT: Tensor,
    step_end_NT: Tensor,
    mask_NT: Tensor,
    group_N: Tensor,
    valid_N: Tensor,
    step_reduction: StepReduction = "sum",
    normalize: Normalize = "group",
    ddof: int = 0,
    eps: float = 0.0,
) -> Tensor:
    """A_it = sum_{j: end_j >= t} (r_ij - mean R) / std R: process supervision (2402.03300 §4.1.3).  Shape (N, T).

    R pools all step rewards of all valid completions of a group; step j of completion i ends at token end_j, where
    `step_end_NT` is 1.  Step rewards [1, 1] and [1, 0] in one group: mean 3/4, std sqrt(3)/4; the first completion's
    first step is worth 2/sqrt(3) and its second 1/sqrt(3), the other's -2/sqrt(3) and -sqrt(3).

    `sum` is the paper's: early tokens count for every step to come, so that a long chain of good steps earns more
    than a short one.  `mean` divides by the number of those steps (a length-neutral control of ours).  With one step a
    completion, at its last token, both are outcome supervision, to the last bit.  Degenerate cases: a group whose
    step rewards are all equal gets 0; tokens after the last step, and rows without a step, get 0.
    """
    row_K, column_K = step_end_NT.nonzero(as_tuple=True)
    reward_K = step_reward_NT[row_K, column_K]
    worth_NT = torch.zeros_like(step_reward_NT)
    if len(row_K):
        worth_K = group_advantages(reward_K, group_N[row_K], valid_N[row_K], "group", normalize, ddof, eps=eps)
        worth_NT = worth_NT.index_put((row_K, column_K), worth_K)
    to_come_NT = _from_the_end(worth_NT)
    if step_reduction == "mean":
        to_come_NT = to_come_NT / _from_the_end(step_end_NT.to(worth_NT.dtype)).clamp(min=1)
    elif step_reduction != "sum":
        raise ValueError(f"step_reduction must be sum or mean, not {step_reduction!r}")
    return torch.where(mask_NT, to_come_NT, 0)


def _from_the_end(x_NT: Tensor) -> Tensor:
    """y_t = sum_{u >= t} x_u."""
    return x_NT.flip(1).cumsum(1).flip(1)


def whiten(x_NT: Tensor, mask_NT: Tensor, ddof: int = 0, eps: float = 0.0, variance_eps: float = 0.0) -> Tensor:
    """z = (x - mean x) / (std x + eps) over every token at mask 1; 0 at mask 0.  Shape (N, T).

    PPO's advantage whitening (Huang et al. 2023, detail 9; ddof 0, the biased variance), over whatever it is given:
    give it the whole update.  std is sqrt(var + variance_eps).  Degenerate case: where all are *equal* the result is 0,
    as in `scale`.
    """
    x = x_NT[mask_NT]
    if len(x) == 0 or bool((x == x[0]).all()):
        return torch.zeros_like(x_NT)
    std = (x.var(correction=ddof) + variance_eps).sqrt() if variance_eps else x.std(correction=ddof)
    return torch.where(mask_NT, (x_NT - x.mean()) / (std + eps), 0)


def reward_to_go(x_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """y_t = sum_{u >= t} x_u over the tokens at mask 1: what is still to come (REINFORCE).  Shape (N, T), 0 at mask
    0.
    """
    return torch.where(mask_NT, _from_the_end(torch.where(mask_NT, x_NT, 0)), 0)
