"""SFT: supervised fine-tuning on the task's written solutions, the first row of DeepSeekMath's Table 10 (2402.03300).

    grad J = E_{q, o ~ the SFT set} (1/|o|) sum_t 1 grad log pi(o_t)                                   (eq. 6, 7)

The coefficient is 1 and there is no reward: what is in the set counts as right.  Nothing is sampled, so a budget in
generated tokens means nothing here.  The likelihood is the model's own, at temperature 1, whatever the temperature that
others sample at.  With a set that is the initial policy's own correct completions this is RFT.

Traces whose steps are annotated may have wrong ones: `wrong_steps=mask` gives their tokens the coefficient 0, which is
1{step right} in the place of 1; the steps after them are learned with them in front.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from algos.core.algorithm import Algorithm
from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Requirement, Rollouts, Schedule
from algos.ops import aggregate, select


@dataclass(frozen=True, kw_only=True)
class SFT(Algorithm):
    """Coefficient 1 for every token of every solution; a round is one update on P of them."""

    paradigm = Row(reward="none", coefficient="1", equation="7")

    loss_aggregation: aggregate.Aggregation = "sequence"  # eq. 6: 1/|o|; `token` is the usual cross-entropy
    wrong_steps: Literal["learn", "mask"] = "learn"  # mask: coefficient 0 in steps of reward 0; wants rewards of steps

    @property
    def needs(self) -> frozenset[Requirement]:
        return frozenset({"steps"} if self.wrong_steps == "mask" else ())

    def schedule(self, base: Schedule) -> Schedule:
        return replace(base, source="dataset", likelihood="plain", group_size=1)

    def credit(self, rollouts: Rollouts) -> Credit:
        ones_NT = torch.where(rollouts.completion_mask_NT, torch.ones_like(rollouts.logp_NT), 0)
        if self.wrong_steps == "mask":
            assert rollouts.step_end_NT is not None and rollouts.step_reward_NT is not None
            right_NT = select.in_right_steps(rollouts.step_end_NT, rollouts.step_reward_NT)
            ones_NT = torch.where(right_NT, ones_NT, 0)
        return Credit(ones_NT, keep_N=torch.ones_like(rollouts.group_N, dtype=torch.bool))

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        mask_NT = batch.rollouts.completion_mask_NT
        weighted_NT = batch.credit.advantage_NT * outputs.logp_NT
        loss = -aggregate.mean(weighted_NT, mask_NT, batch.totals, self.loss_aggregation)
        return loss, aggregate.token_means({"entropy": outputs.entropy_NT}, mask_NT, batch.totals)
