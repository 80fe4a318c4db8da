"""Labels -> a trained reward model, and how good it is on problems that it was not trained on.

    loss = - (1/K) sum_k [ y_k log p_k + (1 - y_k) log(1 - p_k) ]    over an update's K labelled places

(2312.08935 eq. 1 for outcomes, eq. 2 for steps.)  AdamW without decay, a constant rate, the gradient's norm clipped at
1: as the policy's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from algos import Rollouts
from evals.statistics.classifier_quality import quality
from harness.config.rewards import RewardModelFields
from harness.models.microbatching import cut, own
from harness.processes.group import current
from harness.rewards.reward_model import RewardModel
from harness.rewards.step_labels import LabelledCompletions
from harness.rollout.rng import permutation


def fit(
    model: RewardModel, data: LabelledCompletions, fields: RewardModelFields, seed: int, turn: int
) -> dict[str, float]:
    """`epochs` passes over the labelled completions, `batch` an update.  Returns what it came to.

    Nothing is trained on where there is no completion at all.
    """
    parameters = list(model.classifier.parameters())
    for p in parameters:
        p.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=fields.lr, weight_decay=0.0)
    updates, losses = 0, 0.0
    for epoch in range(fields.epochs):
        order = torch.from_numpy(permutation(seed, f"reward model/fit/{turn}", epoch, len(data)))
        losses = 0.0
        for rows in order.split(fields.batch):
            losses += _step(model, data.take(rows), optimizer, parameters) * len(rows) / len(data)
            updates += 1
    for p in parameters:
        p.requires_grad_(False)
    return {"completions": len(data), "places": int(data.where_NT.sum()), "updates": updates, "loss": losses}


def _step(
    model: RewardModel, data: LabelledCompletions, optimizer: torch.optim.Optimizer, parameters: list[Any]
) -> float:
    """One update; its loss."""
    places, whole = int(data.where_NT.sum()), 0.0
    mine = own(data.rollouts, torch.arange(len(data)))
    for rows in cut(data.rollouts, mine, model.micro_batch_tokens):
        part = data.take(rows)
        logits_NT = model.logits(moved(part.rollouts, model.device))
        there_NT = part.where_NT.to(model.device)
        labels = part.label_NT.to(model.device)[there_NT].to(logits_NT.dtype)
        loss = binary_cross_entropy_with_logits(logits_NT[there_NT], labels, reduction="sum") / places
        loss.backward()  # type: ignore[no-untyped-call]
        whole += float(loss.detach())
    whole = _reduced(whole, parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    if not torch.isfinite(norm):
        raise FloatingPointError(f"the reward model's gradient norm is {float(norm)}")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return whole


def _reduced(loss: float, parameters: list[Any]) -> float:
    """Several processes' gradients are summed, in place, and their losses."""
    if current().size > 1:
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        current().sum_([p.grad for p in parameters])
    return sum(current().gather(loss))


def moved(rollouts: Rollouts, device: torch.device) -> Rollouts:
    """On another device; without what is known of its prompts, which no reward model reads."""
    tensors: dict[str, Any] = {name: x.to(device) for name, x in vars(rollouts).items() if isinstance(x, Tensor)}
    return Rollouts(**tensors)


def split_held_out(data: LabelledCompletions, held_out: float) -> tuple[LabelledCompletions, LabelledCompletions]:
    """(to train on, to be measured on): the last problems are held out, at least one, and at least one is not."""
    problems = data.rollouts.group_N.unique()
    count = min(max(1, round(held_out * len(problems))), len(problems) - 1)
    held_N = torch.isin(data.rollouts.group_N, problems[len(problems) - count :])
    return data.take((~held_N).nonzero()[:, 0]), data.take(held_N.nonzero()[:, 0])


def held_out_quality(model: RewardModel, data: LabelledCompletions) -> dict[str, Any]:
    """Quality at the final answers, and at the steps before them where there are any."""
    probability_NT = model(moved(data.rollouts, model.device)).cpu()
    last_N = data.rollouts.completion_mask_NT.sum(1) - 1
    final_NT = torch.arange(data.where_NT.shape[1]) == last_N[:, None]
    places = {"outcome": data.where_NT & final_NT, "steps": data.where_NT & ~final_NT}
    return {
        name: measured.as_dict()
        for name, where_NT in places.items()
        if (measured := quality(probability_NT[where_NT].numpy(), data.label_NT[where_NT].numpy()))
    }
