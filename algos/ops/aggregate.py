"""From a number per token to one number per update.  The denominator is given, never taken from the slice at
hand: that is why micro-batch size, gradient accumulation and process count cannot change a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Aggregation = Literal["sequence", "token", "sum", "horizon", "total"]


@dataclass(frozen=True)
class Totals:
    """The denominators of one whole update: the same for every cut into micro-batches.

    Two completions of 2 and 3 tokens with a limit of 48: Totals(sequences=2, tokens=5, max_completion_tokens=48).
    """

    sequences: int
    tokens: int
    max_completion_tokens: int  # the token limit of a completion (Dr. GRPO's constant)


def mean(x_NT: Tensor, mask_NT: Tensor, totals: Totals, aggregation: Aggregation = "sequence") -> Tensor:
    """This slice's share of the update's average of x.  A scalar; shares of one update add up.

    | aggregation| the whole                                        | source                                  |
    |------------|--------------------------------------------------|-----------------------------------------|
    | `sequence` | (1/N) sum_i (1/len_i) sum_t x_it                 | GRPO, 2402.03300 eq. 3                  |
    | `token`    | sum_it x_it / sum_i len_i                        | DAPO, 2503.14476                        |
    | `sum`      | (1/N) sum_it x_it                                | REINFORCE; Dr. GRPO's unbiased form     |
    | `horizon`  | (1/N) sum_it x_it / T_max                        | Dr. GRPO, 2503.20783 (constant divisor) |
    | `total`    | sum_it x_it                                      | Tinker: the rate takes up the number    |

    N is `totals.sequences`, sum_i len_i `totals.tokens`, T_max `totals.max_completion_tokens`.  With groups of one
    size,
    `sequence` is eq. 3's mean over the group and then over the prompts.  Degenerate case: a completion
    without a token of its own adds 0; an update without completions is 0.
    """
    x_NT = torch.where(mask_NT, x_NT, 0)
    sequences = max(totals.sequences, 1)
    if aggregation == "sequence":
        return (x_NT.sum(1) / mask_NT.sum(1).clamp(min=1)).sum() / sequences
    if aggregation == "token":
        return x_NT.sum() / max(totals.tokens, 1)
    if aggregation == "sum":
        return x_NT.sum() / sequences
    if aggregation == "horizon":
        return x_NT.sum() / (sequences * max(totals.max_completion_tokens, 1))
    if aggregation == "total":
        return x_NT.sum()
    raise ValueError(f"loss_aggregation must be sequence, token, sum, horizon or total, not {aggregation!r}")


def token_means(per_token: Mapping[str, Tensor], mask_NT: Tensor, totals: Totals) -> dict[str, Tensor]:
    """This slice's share of each metric's mean over the update's tokens, sum_it x_it / sum_i len_i, without
    gradient."""
    return {name: mean(x_NT.detach(), mask_NT, totals, "token") for name, x_NT in per_token.items()}
