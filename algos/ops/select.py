"""Which completions are trained on.  Shapes: N completions in P groups; see `advantages`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from algos.ops.advantages import zero_variance_groups

GroupFilter = Literal["none", "zero_variance", "all_wrong", "all_right"]
Selection = Literal["all", "positive", "largest", "extremes"]


def keep_groups(reward_N: Tensor, group_N: Tensor, valid_N: Tensor, filter_groups: GroupFilter) -> Tensor:
    """1 for completions whose group stays.  Shape (N,), bool.

    `zero_variance` drops groups whose rewards are all equal (DAPO, 2503.14476, without its resampling); `all_wrong`
    and `all_right` only those whose equal reward is the lowest, or the highest, of the round.
    Degenerate case: a round in which every reward is the same is all wrong *and* all right.
    """
    if filter_groups == "none":
        return torch.ones_like(valid_N)
    equal_N = zero_variance_groups(reward_N, group_N, valid_N)[group_N]
    if filter_groups == "zero_variance":
        return ~equal_N
    if filter_groups not in ("all_wrong", "all_right"):
        raise ValueError(f"filter_groups must be none, zero_variance, all_wrong or all_right, not {filter_groups!r}")
    if not valid_N.any():
        return torch.ones_like(valid_N)
    valid_rewards = reward_N[valid_N]
    extreme = valid_rewards.min() if filter_groups == "all_wrong" else valid_rewards.max()
    return ~(equal_N & (reward_N == extreme))


def first(keep_N: Tensor, group_N: Tensor, limit: int) -> Tensor:
    """The first `limit` kept completions of each group: keep_i and #{j <= i : keep_j, group_j = group_i} <= limit.

    Shape (N,), bool.  A limit per prompt: 2308.01825 samples k and keeps what is right; equal treatment of easy and
    hard prompts wants a limit.  Degenerate cases: a group with fewer keeps all it has; limit 0 keeps nothing.
    """
    return keep_N & (_counted(keep_N, group_N) <= limit)


def accepted(valid_N: Tensor, group_N: Tensor, reward_N: Tensor, reward_threshold: float, top_k: int | None) -> Tensor:
    """What rejection sampling accepts: valid_i and r_i >= reward_threshold, or the `top_k` best of each group.

    Shape (N,), bool.  `top_k` ignores the threshold: a group that is all wrong has its best too.
    """
    return valid_N & (reward_N >= reward_threshold) if top_k is None else best(valid_N, group_N, reward_N, top_k)


def best(keep_N: Tensor, group_N: Tensor, value_N: Tensor, limit: int) -> Tensor:
    """The `limit` kept completions of each group with the highest values; of equals the first.  Shape (N,), bool.

    keep_i and #{j : keep_j, group_j = group_i, v_j > v_i or (v_j = v_i and j <= i)} <= limit: best of K (RAFT,
    2304.06767, has limit 1), which asks of a reward its order alone.  What is not kept may have any value, NaN too.
    Degenerate case: a group of equal values keeps its first ones, although nothing speaks for them.
    """
    order = torch.argsort(torch.where(keep_N, value_N, -torch.inf), descending=True, stable=True)
    best_N = torch.empty_like(keep_N)
    best_N[order] = first(keep_N[order], group_N[order], limit)
    return best_N


def largest(keep_N: Tensor, value_N: Tensor, share: float) -> Tensor:
    """The `share` of the kept completions, over the whole round, with the largest |value|; of equals the first ones.

    keep_i and #{j : keep_j, |v_j| > |v_i| or (|v_j| = |v_i| and j <= i)} <= max(1, floor(share #keep)).  Shape (N,),
    bool.  CPPO (2503.22342): of advantages, which say how much a completion will move.  No completion: none.
    """
    limit = max(1, int(share * int(keep_N.sum()) + 1e-9))
    return best(keep_N, torch.zeros(len(keep_N), dtype=torch.int64, device=keep_N.device), value_N.abs(), limit)


def extremes(keep_N: Tensor, group_N: Tensor, value_N: Tensor, share: float) -> Tensor:
    """Of each group the m = max(2, floor(share #keep)) kept completions whose values have the largest variance.

    Shape (N,), bool.  PODS (2504.13818): they are the m - k lowest and the k highest for some k, so that of the m + 1
    splits the best is taken, of equals the one with fewest of the highest; equal values are taken in their order.
    Degenerate cases: a group with m or fewer keeps all it has; equal values keep the first m.
    """
    chosen_N = torch.zeros_like(keep_N)
    for g in group_N.unique():
        member = (keep_N & (group_N == g)).nonzero()[:, 0]
        member = member[torch.argsort(value_N[member], stable=True)]
        m = max(2, int(share * len(member) + 1e-9))
        if len(member) <= m:
            chosen_N[member] = True
            continue
        splits = [torch.cat([member[: m - k], member[len(member) - k :]]) for k in range(m + 1)]
        variance = torch.stack([value_N[split].var(unbiased=False) for split in splits])
        chosen_N[splits[int((variance >= variance.max() * (1 - 1e-12)).nonzero()[0, 0])]] = True
    return chosen_N


def covariance(advantage_NT: Tensor, logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """c_it = (A_it - mean A)(log pi_it - mean log pi) over the tokens at mask 1; 0 at mask 0.  Shape (N, T).

    A token's part of the covariance that entropy falls by (2505.22617).
    """
    count = mask_NT.sum().clamp(min=1)
    apart = [torch.where(mask_NT, x - torch.where(mask_NT, x, 0).sum() / count, 0) for x in (advantage_NT, logp_NT)]
    return apart[0] * apart[1]


def top(value_NT: Tensor, mask_NT: Tensor, limit: int) -> Tensor:
    """The `limit` tokens at mask 1 with the highest values; of equals the first.  #{u : v_u > v_t} < limit.  (N, T)."""
    value, keep = value_NT.flatten(), mask_NT.flatten()
    return best(keep, torch.zeros(len(keep), dtype=torch.int64, device=keep.device), value, limit).view_as(mask_NT)


def drawn(mask_NT: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """min(limit, #mask) of the tokens at mask 1, drawn without replacement: each with P = min(1, limit / #mask).

    Shape (N, T), bool.  Clip-Cov (2505.22617) draws those that leave the gradient.  Degenerate case: no token, none.
    """
    place = mask_NT.flatten().nonzero()[:, 0]
    chosen = torch.zeros_like(mask_NT).flatten()
    chosen[place[torch.randperm(len(place), generator=generator)[:limit].to(place.device)]] = True
    return chosen.view_as(mask_NT)


def _counted(keep_N: Tensor, group_N: Tensor) -> Tensor:
    """#{j <= i : keep_j, group_j = group_i}.  Shape (N,), int64."""
    order = torch.argsort(group_N, stable=True)
    sorted_N, kept_N = group_N[order], keep_N[order].long()
    total_P = _total(keep_N, group_N)
    before_N = (total_P.cumsum(0) - total_P)[sorted_N]  # kept in the groups before this one
    counted_N = torch.empty_like(kept_N)
    counted_N[order] = kept_N.cumsum(0) - before_N
    return counted_N


def _total(keep_N: Tensor, group_N: Tensor) -> Tensor:
    """How many each group keeps.  Shape (P,), int64."""
    return group_N.new_zeros(int(group_N.max()) + 1).index_add_(0, group_N, keep_N.long())


def pairs(one_N: Tensor, other_N: Tensor, group_N: Tensor, limit: int | None = None) -> Tensor:
    """The number of each completion's pair, 0, 1, ..., and -1 without one.  Shape (N,), int64.

    Within a group the i-th of `one` goes with the i-th of `other`, i <= min(#one, #other, limit): preference pairs
    (2305.18290) in which every completion is used at most once.  No completion is in both sets.
    Degenerate case: a group that lacks either has no pair.
    """
    place_N = torch.where(one_N, _counted(one_N, group_N), _counted(other_N, group_N))  # 1, 2, ...
    count_P = torch.minimum(_total(one_N, group_N), _total(other_N, group_N))
    count_P = count_P if limit is None else count_P.clamp(max=limit)
    paired_N = (one_N | other_N) & (place_N <= count_P[group_N])
    first_P = count_P.cumsum(0) - count_P
    return torch.where(paired_N, first_P[group_N] + place_N - 1, -1)


def distinct(keep_N: Tensor, group_N: Tensor, solution_id_N: Tensor) -> Tensor:
    """The first kept completion of each (group, key): one of every distinct solution of a prompt (2308.01825).

    Shape (N,), bool.  The key says what counts as the same solution; 2308.01825 has the list of equations.
    """
    _, pair_N = torch.stack([group_N, solution_id_N], 1).unique(dim=0, return_inverse=True)
    return first(keep_N, pair_N, 1)


def in_right_steps(step_end_NT: Tensor, step_reward_NT: Tensor) -> Tensor:
    """c_t = 1{r_k > 0}, k the first step with end_k >= t: does a token lie in a right step?  bool, (N, T).

    Ends [0, 1, 0, 1] with rewards [0, 1, 0, 0]: tokens 0 and 1 are in the first step, which is right, 2 and 3 in the
    second, which is not: [1, 1, 0, 0].  Degenerate case: tokens after the last step, and rows without one, are in no
    wrong step: 1.
    """
    width = step_end_NT.shape[1]
    place_T = torch.arange(width, device=step_end_NT.device)
    end_NT = torch.where(step_end_NT, place_T, width).flip(1).cummin(1).values.flip(1)
    reward_NT = torch.cat([step_reward_NT, torch.ones_like(step_reward_NT[:, :1])], 1)
    return reward_NT.gather(1, end_NT) > 0
