"""RFT: rejection-sampling fine-tuning (2308.01825), with data source and start as in DeepSeekMath's Table 10.

    D      = { o ~ pi_init : o is correct, its key is new to its prompt, at most `max_per_prompt` per prompt }
    grad J = sum_{o in D} sum_t grad log pi(o_t) / sum_{o in D} |o|,   from pi_init, `epochs` times over D

Everything is sampled from the initial policy before anything is trained.  The loss is the plain cross-entropy of
2308.01825 over what was kept; DeepSeekMath writes it with 1/|o| inside (2402.03300 eq. 10,
`loss_aggregation=sequence`): the choice between a short guess and a long derivation, made in the first token, then
counts for 1/|o|, and short guesses win where both were sometimes correct (measured on nano: docs/results.md).  Differs
from 2308.01825 in training the initial policy itself, as Table 10, rather than the pretrained base on start data and
samples together.  An initial policy that is never right leaves nothing to train on.

`epochs=0` is the rejection sampling alone: the whole budget is sampled, the policy stays as it is, and what is kept is
written down for another run (DeepSeek-R1, 2501.12948 §2.3.3: the data of its second fine-tuning).

A learned reward has an order and no scale: what reaches `reward_threshold` may be nothing.  `top_k=k` keeps the k
completions of each prompt that it puts highest instead, right or wrong (RAFT, 2304.06767, has k = 1); it wants
`distinct=false`, for a key says what two *correct* solutions share.
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
class RFT(Algorithm):
    """Sample once, keep what is right and new, fine-tune on it."""

    paradigm = Row(reward="rule", coefficient="1{o correct}", equation="10", transform="log p")

    reward_threshold: float = 1.0  # correct is a completion whose reward, all terms included, reaches this: eq. 10
    top_k: int | None = None  # instead, so many per prompt of the highest reward: best of K; wants distinct=false
    distinct: bool = True  # 2308.01825: one completion of each distinct solution of a prompt
    max_per_prompt: int | None = None  # at most so many per prompt, the first ones; 2308.01825 keeps every distinct one
    epochs: int = 3  # 2308.01825's script; not binding where training is paid in the budget's unit; 0: sample alone
    sampling_fraction: float = 0.5  # of a budget that sampling and training both draw on (FLOPs, seconds); chosen
    loss_aggregation: aggregate.Aggregation = "token"  # 2308.01825: cross-entropy; sequence: 2402.03300 eq. 10

    def __post_init__(self) -> None:
        if not 0 < self.sampling_fraction < 1:
            raise ValueError(f"algo.sampling_fraction: must lie between 0 and 1, not {self.sampling_fraction}")
        check_top_k(self.top_k, reward_threshold=(self.reward_threshold, 1), distinct=(self.distinct, False))
        if self.max_per_prompt is not None and self.max_per_prompt < 1:
            raise ValueError(f"algo.max_per_prompt: must be at least 1, not {self.max_per_prompt}")
        if self.epochs < 0:
            raise ValueError(f"algo.epochs: must be at least 1, or 0 to sample alone, not {self.epochs}")

    def schedule(self, base: Schedule) -> Schedule:
        share = self.sampling_fraction if self.epochs else 1.0
        return replace(
            base, source="initial", likelihood="plain", rounds=1, epochs=self.epochs, sampling_fraction=share
        )

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None
        keep_N = correct_N = select.accepted(r.valid_N, r.group_N, r.reward_N, self.reward_threshold, self.top_k)
        if self.distinct:
            assert r.solution_id_N is not None
            keep_N = select.distinct(keep_N, r.group_N, r.solution_id_N)
        distinct = float(keep_N.sum() / correct_N.sum().clamp(min=1))
        if self.max_per_prompt is not None:
            keep_N = select.first(keep_N, r.group_N, self.max_per_prompt)
        advantage_NT = torch.where(r.completion_mask_NT & keep_N[:, None], torch.ones_like(r.logp_NT), 0)
        return Credit(advantage_NT, keep_N=keep_N, metrics={"distinct": distinct})

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        mask_NT = batch.rollouts.completion_mask_NT
        weighted_NT = batch.credit.advantage_NT * outputs.logp_NT
        loss = -aggregate.mean(weighted_NT, mask_NT, batch.totals, self.loss_aggregation)
        return loss, aggregate.token_means({"entropy": outputs.entropy_NT}, mask_NT, batch.totals)
