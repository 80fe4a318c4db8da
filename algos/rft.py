"""RFT: rejection-sampling fine-tuning (2308.01825), with data source and start as in DeepSeekMath's Table 10.

    D      = { o ~ pi_start : o is correct, its key is new to its prompt, at most `cap` a prompt }
    grad J = sum_{o in D} sum_t grad log pi(o_t) / sum_{o in D} |o|,   from pi_start, `epochs` times over D

Everything is sampled from the start model before anything is trained.  The loss is the plain cross-entropy of
2308.01825 over what was kept; DeepSeekMath writes it with 1/|o| inside (2402.03300 eq. 10, `average=sequence`): the
choice between a short guess and a long derivation, made in the first token, then counts for 1/|o|, and short guesses
win where both were sometimes correct (measured on nano: README).  Differs from 2308.01825 in training the start model
itself, as Table 10, rather than the pretrained base on start data and samples together.  A start model that is never
right leaves nothing to train on.

A learned reward has an order and no scale: what reaches `correct_at` may be nothing.  `best=k` keeps the k completions
of each prompt that it puts highest instead, right or wrong (RAFT, 2304.06767, has k = 1); it wants `distinct=false`,
for a key says what two *correct* solutions share.
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
class RFT(Algorithm):
    """Sample once, keep what is right and new, fine-tune on it."""

    paradigm = Row(reward="rule", coefficient="1{o correct}", equation="10")

    correct_at: float = 1.0  # a completion is correct where its reward, all its terms included, reaches this: eq. 10
    best: int | None = None  # instead, so many a prompt of the highest reward: best of K; wants distinct=false
    distinct: bool = True  # 2308.01825: one completion of each distinct solution of a prompt
    cap: int | None = None  # at most so many a prompt, the first ones; 2308.01825 keeps every distinct one
    epochs: int = 3  # 2308.01825's script; not binding where training is paid in the budget's unit
    sampling_share: float = 0.5  # of a budget that sampling and training both draw on (FLOPs, seconds); chosen
    average: aggregate.Over = "token"  # 2308.01825: cross-entropy; `sequence` is 2402.03300 eq. 10's 1/|o|

    def __post_init__(self) -> None:
        if not 0 < self.sampling_share < 1:
            raise ValueError(f"algo.sampling_share: must lie between 0 and 1, not {self.sampling_share}")
        check_best(self.best, correct_at=(self.correct_at, 1), distinct=(self.distinct, False))
        for name in ("cap", "epochs"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"algo.{name}: must be at least 1, not {getattr(self, name)}")

    def schedule(self, base: Schedule) -> Schedule:
        return replace(
            base, source="start", restart=True, rounds=1, epochs=self.epochs, sampling_share=self.sampling_share
        )

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None
        keep_N = correct_N = select.wanted(r.valid_N, r.group_N, r.reward_N, self.correct_at, self.best)
        if self.distinct:
            assert r.key_N is not None
            keep_N = select.distinct(keep_N, r.group_N, r.key_N)
        distinct = float(keep_N.sum() / correct_N.sum().clamp(min=1))
        if self.cap is not None:
            keep_N = select.first(keep_N, r.group_N, self.cap)
        advantage_NT = torch.where(r.mask_NT & keep_N[:, None], torch.ones_like(r.logp_NT), 0)
        return Credit(advantage_NT, keep_N=keep_N, metrics={"distinct": distinct})

    def loss(self, batch: Batch, fresh: Fresh) -> tuple[Tensor, Metrics]:
        mask_NT = batch.rollouts.mask_NT
        loss = -aggregate.mean(batch.credit.advantage_NT * fresh.logp_NT, mask_NT, batch.totals, self.average)
        return loss, {"entropy": aggregate.mean(fresh.entropy_NT.detach(), mask_NT, batch.totals, "token")}
