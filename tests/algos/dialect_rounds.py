"""Random rounds that dialects are compared on, and the comparison.  Shapes: N completions in P groups, T tokens.

A framework's loss takes the round, the live log-probabilities and the live values, which are None but for PPO.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import algos
from algos import Rollouts
from tests.algos.builders import batch_of, moved, random_round

Theirs = Callable[..., Tensor]  # the round, the live log-probabilities (and of PPO the live values) -> the loss
STEPS = (0.0, 0.3, 1.5)  # how far the policy has moved since it sampled: not, a little, beyond every bound


def round_of(seed: int, dtype: torch.dtype, groups: int = 6, size: int = 8) -> Rollouts:
    """Groups of mixed 0 and 1, one all right, one all wrong; ragged completions."""
    r = random_round(seed, groups, size, width=12)
    rng = torch.Generator().manual_seed(seed)
    reward_N = (torch.rand(groups * size, generator=rng) < 0.45).double()
    reward_N[:size], reward_N[size : 2 * size] = 1.0, 0.0
    reward_N[2 * size], reward_N[2 * size + 1] = 1.0, 0.0
    floats = {name: getattr(r, name).to(dtype) for name in ("logp_NT", "ref_logp_NT")}
    return replace(r, reward_N=reward_N.to(dtype), **floats)


def valued(r: Rollouts, step: float, seed: int) -> tuple[Rollouts, Tensor]:
    """The round with the old values of its tokens, and the live ones; completions without a hole.

    OpenRLHF's GAE ends where a token was not chosen, ours steps over it.
    """
    rng = torch.Generator().manual_seed(seed + 100)
    mask_NT = r.completion_mask_NT.clone()
    mask_NT[1] = True
    noise = [torch.randn(mask_NT.shape, generator=rng, dtype=torch.float64).to(r.logp_NT.dtype) for _ in range(3)]
    logp_NT, ref_NT = (torch.where(r.completion_mask_NT, x, -0.7).where(mask_NT, 0) for x in (r.logp_NT, r.ref_logp_NT))
    value_NT = torch.where(mask_NT, 0.4 + 0.3 * noise[0], 0)
    live_NT = torch.where(mask_NT, value_NT + step * noise[1], 0)
    return replace(r, completion_mask_NT=mask_NT, logp_NT=logp_NT, ref_logp_NT=ref_NT, value_NT=value_NT), live_NT


def differences(
    name: str, theirs: Theirs, dtype: torch.dtype, seeds: int = 3, steps: tuple[float, ...] = STEPS
) -> dict[str, float]:
    """The largest differences of loss and gradient from a preset's, relative to the largest term of either.

    Of the loss: to the mean |A| of its tokens where that is larger, for on the sampler it is a sum of advantages: 0.
    The gradient is that by the log-probabilities and, where there is a value model, by the values.
    """
    worst = {"loss": 0.0, "gradient": 0.0}
    algo = algos.load(name)()
    for seed in range(seeds):
        for step in steps:
            r, live_NT = round_of(seed, dtype), None
            if "values" in algo.needs:
                r, live_NT = valued(r, step, seed)
            outputs = moved(r, step, seed)
            given = [x.detach().to(dtype) for x in (outputs.logp_NT, live_NT) if x is not None]
            ours, others = ([x.clone().requires_grad_() for x in given] for _ in range(2))
            credit = algo.credit(r)
            outputs = replace(outputs, logp_NT=ours[0], value_NT=ours[1] if live_NT is not None else None)
            own, loss = algo.loss(batch_of(r, credit), outputs)[0], theirs(r, *others)
            scale = max(abs(float(loss.detach())), float(credit.advantage_NT.abs().mean()))
            worst["loss"] = max(worst["loss"], abs(float(own.detach()) - float(loss.detach())) / scale)
            slopes = zip(torch.autograd.grad(own, ours), torch.autograd.grad(loss, others), strict=True)
            for slope, other in slopes:
                worst["gradient"] = max(worst["gradient"], float((slope - other).abs().max() / other.abs().max()))
    return worst
