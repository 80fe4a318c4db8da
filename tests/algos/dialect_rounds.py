"""Random rounds that dialects are compared on, and the comparison.  Shapes: N completions in P groups, T tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import algos
from algos import Rollouts
from tests.algos.builders import batch_of, moved, random_round

Theirs = Callable[[Rollouts, Tensor], Tensor]  # the round, the live log-probabilities -> the loss
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


def differences(
    name: str, theirs: Theirs, dtype: torch.dtype, seeds: int = 3, steps: tuple[float, ...] = STEPS
) -> dict[str, float]:
    """The largest differences of loss and gradient from a preset's, relative to the largest term of either.

    Of the loss: to the mean |A| of its tokens where that is larger, for on the sampler it is a sum of advantages: 0.
    """
    worst = {"loss": 0.0, "gradient": 0.0}
    for seed in range(seeds):
        for step in steps:
            r = round_of(seed, dtype)
            outputs = moved(r, step, seed)
            logp_NT = outputs.logp_NT.detach().to(dtype).requires_grad_()
            outputs = replace(outputs, logp_NT=logp_NT)
            algo = algos.load(name)()
            credit = algo.credit(r)
            ours = algo.loss(batch_of(r, credit), outputs)[0]
            slope_NT = torch.autograd.grad(ours, logp_NT)[0]
            other_NT = logp_NT.detach().clone().requires_grad_()
            loss = theirs(r, other_NT)
            their_NT = torch.autograd.grad(loss, other_NT)[0]
            scale = max(abs(float(loss.detach())), float(credit.advantage_NT.abs().mean()))
            worst["loss"] = max(worst["loss"], abs(float(ours.detach()) - float(loss.detach())) / scale)
            apart = float((slope_NT - their_NT).abs().max() / their_NT.abs().max())
            worst["gradient"] = max(worst["gradient"], apart)
    return worst
