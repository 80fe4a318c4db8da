"""Online RFT: rejection-sampling fine-tuning on the live policy's own completions (DeepSeekMath, 2402.03300 A.1.3).

    grad J = E_{q, o ~ pi} (1/|o|) sum_t 1{o is correct} grad log pi(o_t)                             (eq. 10, 11)

The mean is over all N sampled completions, correct or not: a prompt that is rarely solved pulls rarely.  There is no
baseline and no negative example, so a group that is all right still pulls, and one that is all wrong is silent.
1/|o| makes the tokens of short completions pull harder, and nothing pulls back: where short guesses are sometimes
right, they take over (measured on nano: README).  `average=token` gives every token the same pull.
RAFT (2304.06767) is its relative with `best=1`; 2504.11343's, which drops what is wrong, with `positives=1`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algos.core.algorithm import Algorithm, check_best
from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Fresh, Metrics, Rollouts, Schedule
from algos.ops import aggregate, select


@dataclass(frozen=True, kw_only=True)
class OnlineRFT(Algorithm):
    """Coefficient 1 for what is correct, 0 for the rest; no deduplication; the denominator is all N."""

    paradigm = Row(reward="rule", coefficient="1{o correct}", equation="10")

    correct_at: float = 1.0  # a completion is correct where its reward, all its terms included, reaches this: eq. 10
    best: int | None = None  # instead, so many a prompt of the highest reward: for a learned one, which has no scale
    positives: int | None = None  # at most so many correct completions a prompt pull, the first ones; eq. 11 has all
    average: aggregate.Over = "sequence"  # eq. 11: 1/|o|
    epochs: int = 1  # as GRPO's: one update an exploration stage
    minibatches: int = 1

    def __post_init__(self) -> None:
        check_best(self.best, correct_at=(self.correct_at, 1), positives=(self.positives, None))
        for name in ("positives", "epochs", "minibatches"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"algo.{name}: must be at least 1, not {getattr(self, name)}")

    def schedule(self, base: Schedule) -> Schedule:
        return replace(base, epochs=self.epochs, minibatches=self.minibatches)

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None
        pull_N = select.wanted(r.valid_N, r.group_N, r.reward_N, self.correct_at, self.best)
        if self.positives is not None:
            pull_N = select.first(pull_N, r.group_N, self.positives)
        advantage_NT = torch.where(r.mask_NT & pull_N[:, None], torch.ones_like(r.logp_NT), 0)
        return Credit(
            advantage_NT, keep_N=r.valid_N, inert_N=~pull_N, metrics={"positives": float(pull_N.double().mean())}
        )

    def loss(self, batch: Batch, fresh: Fresh) -> tuple[Tensor, Metrics]:
        mask_NT = batch.rollouts.mask_NT
        loss = -aggregate.mean(batch.credit.advantage_NT * fresh.logp_NT, mask_NT, batch.totals, self.average)
        return loss, {"entropy": aggregate.mean(fresh.entropy_NT.detach(), mask_NT, batch.totals, "token")}
