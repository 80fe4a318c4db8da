"""Online RFT: rejection-sampling fine-tuning on the live policy's own completions (DeepSeekMath, 2402.03300 A.1.3).

    grad J = E_{q, o ~ pi} (1/|o|) sum_t 1{o is correct} grad log pi(o_t)                             (eq. 10, 11)

The mean is over all N sampled completions, correct or not: a prompt that is rarely solved pulls rarely.  There is no
baseline and no negative example, so a group that is all right still pulls, and one that is all wrong gives no gradient.
1/|o| makes the tokens of short completions pull harder, and nothing pulls back: where short guesses are sometimes
right, they take over (measured on nano: docs/results.md).  `loss_aggregation=token` gives every token the same pull.
RAFT (2304.06767) is its relative with `top_k=1`; 2504.11343's, which drops what is wrong, with `max_positives=1`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algos.core.algorithm import Algorithm
from algos.core.checks import check_top_k
from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Rollouts, Schedule
from algos.ops import aggregate, select


@dataclass(frozen=True, kw_only=True)
class OnlineRFT(Algorithm):
    """Coefficient 1 for what is correct, 0 for the rest; no deduplication; the denominator is all N."""

    paradigm = Row(reward="rule", coefficient="1{o correct}", equation="10", transform="p")

    reward_threshold: float = 1.0  # correct is a completion whose reward, all terms included, reaches this: eq. 10
    top_k: int | None = None  # instead, so many per prompt of the highest reward: for a learned one, which has no scale
    max_positives: int | None = (
        None  # at most so many correct completions per prompt pull, the first ones; eq. 11 has all
    )
    loss_aggregation: aggregate.Aggregation = "sequence"  # eq. 11: 1/|o|
    epochs: int = 1  # as GRPO's: one update per exploration stage
    minibatches: int = 1  # updates per pass, by whole groups

    def __post_init__(self) -> None:
        check_top_k(self.top_k, reward_threshold=(self.reward_threshold, 1), max_positives=(self.max_positives, None))
        for name in ("max_positives", "epochs", "minibatches"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"algo.{name}: must be at least 1, not {getattr(self, name)}")

    def schedule(self, base: Schedule) -> Schedule:
        return replace(base, epochs=self.epochs, minibatches=self.minibatches)

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None
        pull_N = select.accepted(r.valid_N, r.group_N, r.reward_N, self.reward_threshold, self.top_k)
        if self.max_positives is not None:
            pull_N = select.first(pull_N, r.group_N, self.max_positives)
        advantage_NT = torch.where(r.completion_mask_NT & pull_N[:, None], torch.ones_like(r.logp_NT), 0)
        positives = float(pull_N.double().mean())
        return Credit(advantage_NT, keep_N=r.valid_N, zero_gradient_N=~pull_N, metrics={"positives": positives})

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        mask_NT = batch.rollouts.completion_mask_NT
        weighted_NT = batch.credit.advantage_NT * outputs.logp_NT
        loss = -aggregate.mean(weighted_NT, mask_NT, batch.totals, self.loss_aggregation)
        return loss, aggregate.token_means({"entropy": outputs.entropy_NT}, mask_NT, batch.totals)
