"""What a run holds; and its worst micro-batch first, so that lacking memory is known before anything was spent."""

from __future__ import annotations

import torch

from algos import Batch, Credit, Rollouts, Totals
from harness.records.schema import MemoryPart, MemoryTable
from harness.training.trainer import Trainer


def worst(prompt: int, token_limit: int, micro_batch_tokens: int, device: torch.device) -> Rollouts:
    """As many completions of `token_limit` tokens to one prompt of `prompt` tokens as a micro-batch takes, one at
    least."""
    rows = max(1, (micro_batch_tokens - prompt) // max(token_limit - 1, 1))
    attention_mask_NS = torch.ones(rows, prompt + token_limit, dtype=torch.bool, device=device)
    zeros_NT = torch.zeros(rows, token_limit, device=device)
    return Rollouts(
        tokens_NS=torch.zeros_like(attention_mask_NS, dtype=torch.long),
        attention_mask_NS=attention_mask_NS,
        completion_mask_NT=attention_mask_NS[:, prompt:],
        logp_NT=zeros_NT,
        group_N=torch.zeros(rows, dtype=torch.long, device=device),
        ref_logp_NT=zeros_NT,
        value_NT=zeros_NT,
        entropy_NT=zeros_NT,
    )


def probe(trainer: Trainer, prompt: int) -> None:
    """Read the worst micro-batch with a gradient, and forget it.  Changes nothing in the run.

    Raises MemoryError, one line, where it does not fit.
    """
    policy, token_limit = trainer.policy, trainer.sampling.max_new_tokens
    r = worst(prompt, token_limit + trainer.tokenizer.answered, trainer.micro_batch_tokens, policy.device)
    credit = Credit(
        torch.zeros_like(r.logp_NT), torch.ones_like(r.group_N, dtype=torch.bool), torch.zeros_like(r.logp_NT)
    )
    batch = Batch(r, credit, Totals(len(r.group_N), int(r.completion_mask_NT.sum()), token_limit))
    try:
        for fresh in policy.forward_passes(batch, trainer.algo.needs):
            read = [fresh.logp_NT.sum(), *([] if fresh.value_NT is None else [fresh.value_NT.sum()])]
            policy.backward(torch.stack([x.float() for x in read]).sum())
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"a micro-batch of {len(r.group_N)} x {token_limit} tokens does not fit: lower micro_batch_tokens "
            f"({trainer.micro_batch_tokens}), or set gradient_checkpointing=true; `harness plan` says what else"
        ) from error
    finally:
        policy.optimizer.zero_grad(set_to_none=True)


def memory_of(trainer: Trainer) -> MemoryTable:
    """The peak (on CUDA also of what the allocator had reserved), and the parts that were counted."""
    parts: dict[str, MemoryPart] = {
        name: {"bytes": size, "how": "measured"} for name, size in trainer.policy.memory_parts().items()
    }
    for name, module in trainer.reward_source.modules().items():
        parts[name] = {"bytes": sum(p.nbytes for p in module.parameters()), "how": "measured"}
    if shadow := trainer.sampler.engine.half_precision_bytes:
        parts["rollout_weights"] = {"bytes": shadow, "how": "measured"}
    parts["kv_cache"] = {"bytes": trainer.sampler.peak_cache_bytes, "how": "measured"}
    parts["activations"] = {"bytes": trainer.activation_bytes, "how": "measured"}
    memory: MemoryTable = {"peak_bytes": trainer.profiler.peak_bytes, "parts": parts}
    if trainer.profiler.cuda:
        memory["reserved_bytes"] = trainer.profiler.reserved_bytes
    return memory
