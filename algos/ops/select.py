"""Which completions are trained on.  Shapes: N completions in P groups; see `advantages`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from algos.ops.advantages import silent

Drop = Literal["none", "silent", "all_wrong", "all_right"]


def keep_groups(reward_N: Tensor, group_N: Tensor, valid_N: Tensor, drop: Drop) -> Tensor:
    """1 for completions whose group stays.  Shape (N,), bool.

    `silent` drops groups whose rewards are all equal (DAPO, 2503.14476, without its resampling); `all_wrong`
    and `all_right` only those whose equal reward is the lowest, or the highest, of the round.
    Degenerate case: a round in which every reward is the same is all wrong *and* all right.
    """
    if drop == "none":
        return torch.ones_like(valid_N)
    silent_N = silent(reward_N, group_N, valid_N)[group_N]
    if drop == "silent":
        return ~silent_N
    if drop not in ("all_wrong", "all_right"):
        raise ValueError(f"drop must be none, silent, all_wrong or all_right, not {drop!r}")
    if not valid_N.any():
        return torch.ones_like(valid_N)
    valid_rewards = reward_N[valid_N]
    extreme = valid_rewards.min() if drop == "all_wrong" else valid_rewards.max()
    return ~(silent_N & (reward_N == extreme))
