"""Small rounds to test with.  Shapes: N completions in P groups, T tokens.  Everything is float64."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from algos import Algorithm, Batch, Credit, PolicyOutputs, Rollouts, Totals
from tests.helpers import close

HORIZON = 9


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def integers(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def booleans(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def simple_round(rewards: list[float], groups: list[int], mask: list[list[int]] | None = None) -> Rollouts:
    """A round with the given rewards, all valid and ended; one token each unless a mask is given."""
    mask_NT = booleans(mask if mask is not None else [[1]] * len(rewards))
    rows, width = mask_NT.shape
    return Rollouts(
        tokens_NS=torch.zeros(rows, width + 1, dtype=torch.int64),
        attention_mask_NS=torch.cat([torch.ones(rows, 1, dtype=torch.bool), mask_NT], 1),
        completion_mask_NT=mask_NT,
        logp_NT=torch.zeros(rows, width, dtype=torch.float64),
        group_N=integers(groups),
        reward_N=f64(rewards),
        valid_N=torch.ones(rows, dtype=torch.bool),
        finished_N=torch.ones(rows, dtype=torch.bool),
    )


def random_round(seed: int = 0, groups: int = 3, size: int = 4, width: int = 5) -> Rollouts:
    """Completions of 1..T tokens, one with a hole in its mask, real-valued rewards, and a reference."""
    rng = torch.Generator().manual_seed(seed)
    rows = groups * size
    length_N = torch.randint(1, width + 1, (rows,), generator=rng)
    length_N[1] = width
    mask_NT = torch.arange(width) < length_N[:, None]
    mask_NT[1, 2] = False  # a token that the policy did not choose: the output of a tool
    logp_NT = -2 * torch.rand(rows, width, generator=rng, dtype=torch.float64) - 0.1
    away_NT = 0.5 * torch.randn(rows, width, generator=rng, dtype=torch.float64)
    return Rollouts(
        tokens_NS=torch.randint(0, 7, (rows, width + 1), generator=rng),
        attention_mask_NS=torch.ones(rows, width + 1, dtype=torch.bool),
        completion_mask_NT=mask_NT,
        logp_NT=torch.where(mask_NT, logp_NT, 0),
        group_N=torch.arange(groups).repeat_interleave(size),
        reward_N=torch.randn(rows, generator=rng, dtype=torch.float64),
        valid_N=torch.ones(rows, dtype=torch.bool),
        finished_N=torch.ones(rows, dtype=torch.bool),
        ref_logp_NT=torch.where(mask_NT, logp_NT + away_NT, 0),
    )


def stepped(rollouts: Rollouts, extra: list[tuple[int, int, float]] | None = None) -> Rollouts:
    """With the reward of each completion as that of its last step; `extra` steps are (completion, column, reward)."""
    assert rollouts.reward_N is not None
    last_N = (
        torch.where(rollouts.completion_mask_NT, torch.arange(rollouts.completion_mask_NT.shape[1]), -1).max(1).values
    )
    rows = torch.arange(len(last_N))
    end_NT, reward_NT = torch.zeros_like(rollouts.completion_mask_NT), torch.zeros_like(rollouts.logp_NT)
    end_NT[rows, last_N], reward_NT[rows, last_N] = True, rollouts.reward_N
    for row, column, reward in extra or []:
        end_NT[row, column], reward_NT[row, column] = True, reward
    return replace(rollouts, step_end_NT=end_NT, step_reward_NT=reward_NT)


def totals_of(mask_NT: Tensor) -> Totals:
    return Totals(sequences=len(mask_NT), tokens=int(mask_NT.sum()), max_completion_tokens=HORIZON)


def batch_of(rollouts: Rollouts, credit: Credit) -> Batch:
    """All kept rows as one update."""
    index = credit.keep_N.nonzero()[:, 0]
    return Batch(rollouts.take(index), credit.take(index), totals_of(rollouts.completion_mask_NT[index]))


def moved(rollouts: Rollouts, step: float, seed: int = 1) -> PolicyOutputs:
    """The live policy some updates later: log-probabilities `step` away, with gradient.  step 0: not moved."""
    rng = torch.Generator().manual_seed(seed)
    noise_NT = step * torch.randn(rollouts.logp_NT.shape, generator=rng, dtype=torch.float64)
    logp_NT = torch.where(rollouts.completion_mask_NT, rollouts.logp_NT + noise_NT, 0)
    entropy_NT = torch.where(
        rollouts.completion_mask_NT, torch.rand(noise_NT.shape, generator=rng, dtype=torch.float64), 0
    )
    return PolicyOutputs(logp_NT=logp_NT.requires_grad_(), entropy_NT=entropy_NT)


def take(fresh: PolicyOutputs, index: Tensor) -> PolicyOutputs:
    """The live policy's view of some of the rows."""
    value_NT = None if fresh.value_NT is None else fresh.value_NT[index]
    return PolicyOutputs(logp_NT=fresh.logp_NT[index], entropy_NT=fresh.entropy_NT[index], value_NT=value_NT)


def loss_of(algo: Algorithm, rollouts: Rollouts, fresh: PolicyOutputs) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and metrics of the whole round as one update."""
    credit = algo.credit(rollouts)
    loss, metrics = algo.loss(batch_of(rollouts, credit), take(fresh, credit.keep_N.nonzero()[:, 0]))
    return loss, dict(metrics)


def gradient_of(algo: Algorithm, rollouts: Rollouts, fresh: PolicyOutputs) -> Tensor:
    return torch.autograd.grad(loss_of(algo, rollouts, fresh)[0], fresh.logp_NT)[0]


def check_shares(algo: Algorithm, rollouts: Rollouts, fresh: PolicyOutputs) -> None:
    """However an update is cut into micro-batches, its loss, gradients and metrics are those of the whole."""
    leaves = [x for x in (fresh.logp_NT, fresh.value_NT) if x is not None]
    whole, metrics = loss_of(algo, rollouts, fresh)
    slopes = torch.autograd.grad(whole, leaves)
    credit = algo.credit(rollouts)
    index, totals = credit.keep_N.nonzero()[:, 0], batch_of(rollouts, credit).totals
    for size in (1, 4, 5):
        loss, sums = torch.zeros(()), dict.fromkeys(metrics, 0.0)
        for part in index.split(size):
            portion, shares = algo.loss(Batch(rollouts.take(part), credit.take(part), totals), take(fresh, part))
            loss = loss + portion
            sums = {name: sums[name] + shares[name].item() for name in sums}
        close(loss, whole)
        for got, slope in zip(torch.autograd.grad(loss, leaves, retain_graph=True), slopes, strict=True):
            close(got, slope)
        for name, value in metrics.items():
            close(sums[name], value)


def settings_of(doc: str, name: str) -> dict[str, str]:
    """The settings that a module's docstring gives a relative: its line, and the lines below it that are further in."""
    lines = iter(doc.splitlines())
    line = next(x for x in lines if x.strip().startswith(name))
    words = line.split()
    for more in lines:
        if not more.startswith(" " * 12):
            break
        words += more.split()
    return dict(word.split("=") for word in words if "=" in word)
