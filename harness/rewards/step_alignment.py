"""Steps of a solution, from characters to tokens: where each ends, and that the final answer is the last of them.

Shapes: N completions, T completion tokens.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from algos import Rollouts
from harness.rollout.collate import last_columns
from harness.rollout.decoding import decode


def token_of(tokenizer: Any, tokens: Sequence[int], end: int) -> int:
    """The first token with which the decoded text is at least `end` characters long (the last one at most).

    Special tokens have no characters, as in the texts that tasks read.
    """

    def written(count: int) -> int:
        text = decode(tokenizer, [tokens[:count]])[0]
        return len(text.rstrip("\ufffd"))  # half a character is none yet

    return min(bisect.bisect_left(range(1, len(tokens) + 1), end, key=written), len(tokens) - 1)


def step_end_tokens(tokenizer: Any, rollouts: Rollouts, ends: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each completion the columns at which its steps end; `ends[i]` are the characters of the policy's own text."""
    found, width = [], rollouts.completion_mask_NT.shape[1]
    for row_S, own_T, stops in zip(rollouts.tokens_NS, rollouts.completion_mask_NT, ends, strict=True):
        columns, tokens = own_T.nonzero()[:, 0].tolist(), row_S[-width:][own_T].tolist()
        found.append([columns[token_of(tokenizer, tokens, end)] for end in stops])
    return found


def scatter_step_rewards(
    rollouts: Rollouts, at: Sequence[Sequence[int]], rewards: Sequence[Sequence[float]]
) -> tuple[Tensor, Tensor]:
    """`step_end_NT` and `step_reward_NT`.  `at[i]` are the tokens at which the steps of completion i end; `rewards[i]`
    has a number for each and a last one for the final answer, which is a step of its own and ends with the completion.

    Where two steps end at one token, or a step at the end of the completion (it was cut there), the later one counts.
    """
    end_NT = torch.zeros(rollouts.completion_mask_NT.shape, dtype=torch.bool)
    reward_NT = torch.zeros(rollouts.completion_mask_NT.shape, dtype=torch.float32)
    last = last_columns(rollouts.completion_mask_NT).tolist()
    for i, (end, stops, given) in enumerate(zip(last, at, rewards, strict=True)):
        for place, reward in zip([*stops, end], given, strict=True):
            end_NT[i, place], reward_NT[i, place] = True, reward
    device = rollouts.completion_mask_NT.device
    return end_NT.to(device), reward_NT.to(device)
