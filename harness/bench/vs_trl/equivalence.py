"""Before anything is timed: check that both sides compute the same loss and the same gradient.

One round of ours runs as usual, with four changes: noise is added to the reference (so that KL is not 0); the
completions also go through the peer's own path (reward, padding, reference, advantages, loss, gradient); the peer's
advantages replace our credit; and the optimiser step only stores the gradient.

Both use the sampler's stored log-probabilities as the old ones.  `off_policy` adds noise to the policy after sampling,
so that ratios and clipping are compared as well.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from algos import Credit, Rollouts
from harness.bench.vs_trl.job import Job
from harness.bench.vs_trl.ours import trainer_of as ours_of
from harness.bench.vs_trl.theirs import trainer_of as peer_of
from harness.bench.vs_trl.worker import Channel
from harness.rewards.base import RewardedRollouts
from harness.training.trainer import Trainer

REFERENCE, POLICY = 0.05, 0.02  # standard deviation of the noise, relative to each tensor's root mean square


def serve(job: Job, channel: Channel) -> None:
    """Send {"rows": [...]}: without KL and with it, on policy and off."""
    jobs = [dataclasses.replace(job, beta=beta) for beta in (0.0, job.beta)]
    with tempfile.TemporaryDirectory() as scratch:
        channel.send({"rows": [compare(j, off_policy, scratch) for j in jobs for off_policy in (False, True)]})


def compare(job: Job, off_policy: bool, scratch: str) -> dict[str, Any]:
    """Relative differences: of the loss (against the mean |advantage| where that is larger, for the on-policy loss
    is a sum of advantages, which is 0), and of each parameter's gradient, max |a - b| / max |b|."""
    peer = peer_of(job, scratch)
    if job.dtype == "float64":  # its output head computes in fp32 all the same
        for model in filter(None, (peer.model, peer.ref_model)):
            model.double()
    ours = ours_of(job)
    loss, gradient, seen = our_side(ours, peer, off_policy)
    peer_loss, peer_gradient = seen["loss"], seen["gradient"]
    assert gradient.keys() == peer_gradient.keys()
    differences = {name: difference(gradient[name], g) for name, g in peer_gradient.items()}
    worst = max(differences, key=lambda name: differences[name])
    scale = max(abs(peer_loss), float(seen["advantage_N"].abs().mean()))
    return {
        "dtype": job.dtype,
        "device": str(ours.policy.device),
        "beta": job.beta,
        "off_policy": off_policy,
        "loss": loss,
        "peer_loss": peer_loss,
        "loss_difference": abs(loss - peer_loss) / scale,
        "gradient_difference": differences[worst],
        "worst_parameter": worst,
        "advantage_difference": difference(seen["our_advantage_N"], seen["advantage_N"]),
        "prompt_ids_equal": seen["prompt_ids_equal"],
        "completions": len(seen["advantage_N"]),
        "zero_variance_groups": seen["zero_variance_groups"],
    }


def difference(a: Tensor, b: Tensor) -> float:
    """max |a - b| / max |b|; 0 where both are 0."""
    apart, scale = float((a - b).abs().max()), float(b.abs().max())
    return apart / scale if scale else apart


@torch.no_grad()
def move(model: Any, share: float, seed: int) -> None:
    """Add noise of `share` of its root mean square to every tensor, the same to equal models."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p += share * p.pow(2).mean().sqrt() * torch.randn(p.shape, generator=generator).to(p)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of an object or a class for the duration of the block."""
    own = vars(owner)
    defined, previous = name in own, own.get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if defined:
            setattr(owner, name, previous)
        else:
            delattr(owner, name)


def our_side(ours: Trainer, peer: Any, off_policy: bool) -> tuple[float, dict[str, Tensor], dict[str, Any]]:
    """Our loss and gradient, and the peer's results for the same completions."""
    models, results = ours.policy.modules(), {}
    gradient: dict[str, Tensor] = {}
    if "reference" in models:
        move(models["reference"], REFERENCE, seed=1)
    collect_rollouts, credit_of = ours.collect_rollouts, type(ours.algo).credit

    def collect(groups: int) -> RewardedRollouts:
        collected = collect_rollouts(groups)
        results.update(peer_side(peer, collected, off_policy))
        if off_policy:
            move(models["policy"], POLICY, seed=2)
        return collected

    def credit(algo: Any, r: Rollouts) -> Credit:
        own = credit_of(algo, r)
        advantage_N = results["advantage_N"].to(own.advantage_NT.device)
        results["our_advantage_N"] = own.advantage_NT[:, 0].cpu()
        results["zero_variance_groups"] = int((r.reward_N.view(-1, ours.schedule.group_size).std(1) == 0).sum())  # type: ignore[union-attr]
        return dataclasses.replace(own, advantage_NT=torch.where(r.completion_mask_NT, advantage_N[:, None], 0))

    def step() -> dict[str, float]:
        for name, p in models["policy"].named_parameters():
            assert p.grad is not None
            gradient[name], p.grad = p.grad.cpu(), None
        return {}

    with (
        replaced(ours, "collect_rollouts", collect),
        replaced(type(ours.algo), "credit", credit),
        replaced(ours.policy, "step", step),
    ):
        done = ours.train_round()
    assert done is not None
    return done.metrics(ours.round_sizer.budget, ours.profiler)["loss"], gradient, results


def peer_side(peer: Any, collected: RewardedRollouts, off_policy: bool) -> dict[str, Any]:
    """The peer's own path from completions to gradient."""
    r = collected.rollouts
    texts = [row["prompt"] for row in peer.train_dataset.select(range(len(set(r.group_N.tolist()))))]
    rows = [{"prompt": texts[g], "problem": g} for g in r.group_N.tolist()]
    width = r.completion_mask_NT.shape[1]
    prompt_tokens_NL, prompt_mask_NL = r.tokens_NS[:, :-width], r.attention_mask_NS[:, :-width]
    prompt_ids = [ids[mask].tolist() for ids, mask in zip(prompt_tokens_NL, prompt_mask_NL, strict=True)]
    completion_ids = [ids[m].tolist() for ids, m in zip(r.tokens_NS[:, -width:], r.completion_mask_NT, strict=True)]
    generated: tuple[Any, ...] = (prompt_ids, completion_ids, None, list(collected.texts), None, {}, None, [])
    same_prompts = peer._tokenize_prompts([row["prompt"] for row in rows])[0] == prompt_ids
    peer.model.train()
    peer.current_gradient_accumulation_steps = 1
    if peer.ref_model is not None:
        move(peer.ref_model, REFERENCE, seed=1)
    with replaced(peer, "_generate", lambda prompts: generated):
        inputs = peer._generate_and_score_completions(rows)
    inputs["old_per_token_logps"] = r.logp_NT.clone()
    if off_policy:
        move(peer.model, POLICY, seed=2)
    loss = peer._compute_loss(peer.model, inputs)
    loss.backward()
    return {
        "loss": float(loss.detach()),
        "gradient": {name: p.grad.cpu() for name, p in peer.model.named_parameters()},
        "advantage_N": inputs["advantages"].cpu(),
        "prompt_ids_equal": same_prompts,
    }
