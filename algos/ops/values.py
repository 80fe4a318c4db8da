"""What a value function is for: generalized advantage estimation, its targets, its loss, and how good it is.

Shapes: N completions of T tokens.  `mask_NT` is 1 where the policy chose the token.  V_t is the value of the state in
which token t was chosen, before it was; after the last token a completion is over, and its value is 0, also where it
was cut at its limit: the limit is part of the task, and the verifier has decided.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_last(reward_N: Tensor, mask_NT: Tensor) -> Tensor:
    """r_t = R at the last token of mask 1, 0 elsewhere (2402.03300 eq. 2 without its KL).  Shape (N, T).

    A completion without a token of its own has nowhere to put its reward: 0.
    """
    last_NT = mask_NT & (mask_NT.cumsum(1) == mask_NT.sum(1, keepdim=True))
    return torch.where(last_NT, reward_N[:, None], 0)


def gae(reward_NT: Tensor, value_NT: Tensor, mask_NT: Tensor, gamma: float, lam: float | Tensor) -> Tensor:
    """A_t = sum_{l >= 0} (gamma lam)^l delta_{t+l},   delta_t = r_t + gamma V_{t+1} - V_t.   (1506.02438.)

    Shape (N, T), 0 at mask 0.  t counts the tokens at mask 1 alone: tool output is stepped over, neither
    bootstrapped from nor discounted for.  `lam` is one number, or one per completion (N,).

    Degenerate cases: gamma = lam = 1 with a reward at the end is R - V_t; lam = 0 is delta_t; V = 0 with
    gamma = lam = 1 is the reward to go (REINFORCE).
    """
    lam = lam.to(reward_NT.dtype) if isinstance(lam, Tensor) else lam
    advantage_NT = torch.zeros_like(reward_NT)
    running_N, next_N = torch.zeros_like(reward_NT[:, 0]), torch.zeros_like(reward_NT[:, 0])
    for t in reversed(range(mask_NT.shape[1])):
        here_N, value_N = mask_NT[:, t], value_NT[:, t]
        delta_N = reward_NT[:, t] + gamma * next_N - value_N
        running_N = torch.where(here_N, delta_N + gamma * lam * running_N, running_N)
        next_N = torch.where(here_N, value_N, next_N)
        advantage_NT[:, t] = torch.where(here_N, running_N, 0)
    return advantage_NT


def length_lambda(mask_NT: Tensor, alpha: float) -> Tensor:
    """lam = 1 - 1 / (alpha l), at least 0, for a completion of l tokens: VAPO, 2504.05118.  Shape (N,).

    The reach 1 / (1 - lam) is a share alpha of the completion at any length.  With alpha = 0.05 a completion of
    1000 tokens has 0.98, and one of 20 or fewer 0.
    """
    return (1 - 1 / (alpha * mask_NT.sum(1).clamp(min=1).double())).clamp(min=0)


def value_loss(value_NT: Tensor, old_NT: Tensor, return_NT: Tensor, clip: float | None) -> Tensor:
    """L_t = 1/2 max[(V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2]; without `clip` 1/2 (V - R)^2.  Shape (N, T).

    PPO's clipped value loss (Huang et al. 2023, detail 10; not in 1707.06347).  At V = V_old the two are one.
    """
    error_NT = (value_NT - return_NT) ** 2
    if clip is not None:
        near_NT = torch.minimum(torch.maximum(value_NT, old_NT - clip), old_NT + clip)
        error_NT = torch.maximum(error_NT, (near_NT - return_NT) ** 2)
    return error_NT / 2


def explained_variance(value_NT: Tensor, return_NT: Tensor, mask_NT: Tensor) -> float | None:
    """1 - Var(R - V) / Var(R) over the tokens at mask 1: 1 is a perfect value model, 0 one no better than a constant.

    As in Schulman's PPO code.  None where the returns are all equal, up to rounding (they are sums of values and
    advantages: a deviation of a millionth of their size): there is nothing to explain.
    """
    value, target = value_NT[mask_NT].double(), return_NT[mask_NT].double()
    if len(target) == 0:
        return None
    spread, size = target.var(unbiased=False), torch.maximum(value.square().mean(), target.square().mean())
    if spread <= 1e-12 * size:
        return None
    return float(1 - (target - value).var(unbiased=False) / spread)


def explained_by_position(value_NT: Tensor, return_NT: Tensor, mask_NT: Tensor, parts: int = 4) -> dict[str, float]:
    """`explained_variance` of all tokens, of each completion's first, and of each of `parts` shares of its length.

    A token at place k of l (k = 0, 1, ...) is in part 1 + floor(k parts / l).  The first token's value knows the
    prompt alone.  What cannot be said (equal returns, no token) is left out.
    """
    place_NT, length_N1 = mask_NT.cumsum(1) - 1, mask_NT.sum(1, keepdim=True).clamp(min=1)
    part_NT = place_NT * parts // length_N1
    masks = {"": mask_NT, "/prompt": mask_NT & (place_NT == 0)}
    masks |= {f"/part{k + 1}of{parts}": mask_NT & (part_NT == k) for k in range(parts)}
    found = {name: explained_variance(value_NT, return_NT, mask) for name, mask in masks.items()}
    return {f"explained_variance{name}": x for name, x in found.items() if x is not None}
