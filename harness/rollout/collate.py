"""Problems -> completions, as the training loop wants them: tokens, masks and texts of a group each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from algos import Rollouts
from evals.tasks import Problem
from harness.rollout.sampler import Completions, Sampler, Sampling, left_pad
from harness.rollout.tokenization import PromptTokenizer


def sample(
    sampler: Sampler,
    tokenizer: PromptTokenizer,
    problems: Sequence[Problem],
    group_size: int,
    sampling: Sampling,
    ordinals: list[int],
) -> tuple[Rollouts, list[str]]:
    """G completions of each problem, and their texts; `ordinals` number the draws, for their noise."""
    prompts = [tokenizer.ids(tokenizer.render(p), p.id) for p in problems]
    return complete(sampler, prompts, group_size, sampling, ordinals)


def complete(
    sampler: Sampler, prompts: list[list[int]], group_size: int, sampling: Sampling, ordinals: list[int]
) -> tuple[Rollouts, list[str]]:
    """G completions of each prompt (token ids), and their texts."""
    done = sampler(prompts, group_size, sampling, ordinals)
    return assembled(prompts, done, group_size, sampler.pad), sampler.texts(done, sampling.stop)


def assembled(prompts: list[list[int]], done: Completions, group_size: int, pad: int) -> Rollouts:
    """Completions behind their prompts, G of each."""
    device = done.tokens_NT.device
    tokens_PL, attend_PL = (x.to(device).repeat_interleave(group_size, 0) for x in left_pad(prompts, pad))
    columns = torch.arange(done.tokens_NT.shape[1], device=device)
    there_NT = columns < done.length_N[:, None]
    return Rollouts(
        tokens_NS=torch.cat([tokens_PL, done.tokens_NT], 1),
        attention_mask_NS=torch.cat([attend_PL, there_NT], 1),
        completion_mask_NT=there_NT if done.sampled_NT is None else there_NT & done.sampled_NT,
        logp_NT=done.logp_NT,
        entropy_NT=done.entropy_NT,
        value_NT=done.value_NT,
        group_N=torch.arange(len(prompts), device=device).repeat_interleave(group_size),
        finished_N=done.finished_N,
    )


def join(rounds: Sequence[Rollouts], pad: int) -> Rollouts:
    """Rounds under one another: padded to one width, prompts on the left and completions on the right."""
    prompt = max(r.tokens_NS.shape[1] - r.completion_mask_NT.shape[1] for r in rounds)
    width = max(r.completion_mask_NT.shape[1] for r in rounds)

    def column(name: str) -> torch.Tensor:
        parts = []
        for r in rounds:
            x, right = getattr(r, name), width - r.completion_mask_NT.shape[1]
            left = prompt + r.completion_mask_NT.shape[1] - r.tokens_NS.shape[1]
            if name.endswith(("_NS", "_NT")):
                around = (left if name.endswith("_NS") else 0, right)
                x = torch.nn.functional.pad(x, around, value=pad if name == "tokens_NS" else 0)
            parts.append(x)
        return torch.cat(parts)

    present = [name for name, x in vars(rounds[0]).items() if isinstance(x, torch.Tensor)]
    shared = [name for name in rounds[0].metadata if all(name in r.metadata for r in rounds)]
    known = {name: torch.cat([r.metadata[name] for r in rounds]) for name in shared}
    return Rollouts(**{name: column(name) for name in present}, metadata=known)


def lengths_by_group(rollouts: Rollouts, group_size: int) -> tuple[list[int], list[list[int]]]:
    """Tokens of each group's prompt, and of each of its completions, with what tools answered; G rows per group, in
    their order."""
    width = rollouts.completion_mask_NT.shape[1]
    length_N = rollouts.attention_mask_NS[:, -width:].sum(1)
    prompts = rollouts.attention_mask_NS[:, :-width].sum(1).tolist()[::group_size]
    lengths = length_N.tolist()
    return prompts, [lengths[i : i + group_size] for i in range(0, len(lengths), group_size)]


def tool_use(rollouts: Rollouts) -> tuple[int, int]:
    """(answers of tools, tokens of them) that were read in a round.

    Attended [1, 1, 1, 1, 1], chosen by the policy [1, 0, 0, 1, 0]: two answers, three tokens.
    """
    width = rollouts.completion_mask_NT.shape[1]
    given_NT = rollouts.attention_mask_NS[:, -width:] & ~rollouts.completion_mask_NT
    begun_NT = given_NT[:, 1:] & ~given_NT[:, :-1]
    return int(begun_NT.sum()) + int(given_NT[:, 0].sum()), int(given_NT.sum())


def sampled_tokens(rollouts: Rollouts) -> list[int]:
    """Of each completion, those that the policy chose."""
    return list(rollouts.completion_mask_NT.sum(1).tolist())


def last_columns(mask_NT: torch.Tensor) -> torch.Tensor:
    """The column of each completion's last own token; 0 where it has none.  (N,)."""
    return (mask_NT * torch.arange(mask_NT.shape[1], device=mask_NT.device)).amax(1)
