"""DPO: Direct Preference Optimization (2305.18290), data source and rule as in DeepSeekMath's Table 10 (2402.03300).

    D    = { (o+, o-) : both ~ pi_init, o+ correct, o- not }              the i-th of each kind in a prompt's stream
    m    = sum_t log pi(o+_t)/pi_ref(o+_t)  -  sum_t log pi(o-_t)/pi_ref(o-_t)
    loss = avg_D -log sigma(beta m),                                                       (2305.18290 eq. 7)
    grad = -avg_D beta sigma(-beta m) { grad log pi(o+) - grad log pi(o-) },   from pi_init, `epochs` times over D

Training restarts from the initial policy, which has sampled everything: pi_ref = pi_init is the sampler, and the
log-probabilities that it stored *are* the reference's (as closely as sampler and trainer agree, which every record
says).  So no reference model is held, read or charged.  Both are the model's own, at temperature 1, whatever the
temperature that completions were drawn at.

DeepSeekMath divides each sum by its |o| (2402.03300 eq. 12, `loss_aggregation=sequence`).  A prompt that is always or
never solved has no pair; what is left over of the more frequent kind leaves the update.  No pair at all: nothing to
train on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from algos.core.algorithm import Algorithm
from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Rollouts, Schedule
from algos.ops import aggregate, ratios, select


@dataclass(frozen=True, kw_only=True)
class DPO(Algorithm):
    """Sample once, pair what is right with what is wrong, and widen the margin between them."""

    paradigm = Row(
        reward="rule",
        coefficient="+s on o+, -s on o-, s = sigma(beta log pi/pi_ref(o-) - beta log pi/pi_ref(o+))",
        equation="14",
    )

    beta: float = 0.1  # 2305.18290 app. B
    reward_threshold: float = 1.0  # a completion is correct where its reward reaches this: Table 10's rule
    distinct: bool = False  # of correct completions with one key the first alone; 2305.18290 has no such filter
    pairs: int | None = None  # at most so many per prompt, the first ones
    epochs: int = 1  # as 2305.18290's code; not binding where training is paid in the budget's unit
    sampling_fraction: float = 0.5  # of a budget that sampling and training both draw on; chosen: RFT's
    loss_aggregation: Literal["sum", "sequence"] = "sum"  # 2305.18290: of whole completions; sequence: eq. 12's 1/|o|

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"algo.beta: must be positive, not {self.beta}")
        if not 0 < self.sampling_fraction < 1:
            raise ValueError(f"algo.sampling_fraction: must lie between 0 and 1, not {self.sampling_fraction}")
        for name in ("pairs", "epochs"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"algo.{name}: must be at least 1, not {getattr(self, name)}")

    def schedule(self, base: Schedule) -> Schedule:
        share = self.sampling_fraction
        return replace(
            base, source="initial", likelihood="plain", rounds=1, epochs=self.epochs, sampling_fraction=share
        )

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None
        reached_N = r.reward_N >= self.reward_threshold
        right_N, wrong_N = r.valid_N & reached_N, r.valid_N & ~reached_N
        if self.distinct:
            assert r.solution_id_N is not None
            right_N = select.distinct(right_N, r.group_N, r.solution_id_N)
        pair_N = select.pairs(right_N, wrong_N, r.group_N, self.pairs)
        keep_N = pair_N >= 0
        sign_NT = torch.where(right_N[:, None], torch.ones_like(r.logp_NT), -1)
        return Credit(torch.where(r.completion_mask_NT & keep_N[:, None], sign_NT, 0), keep_N=keep_N, pair_N=pair_N)

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        credit, mask_NT, kept_N = batch.credit, batch.rollouts.completion_mask_NT, batch.credit.keep_N
        assert credit.pair_N is not None
        log_NT = ratios.log_ratio(outputs.logp_NT, batch.rollouts.logp_NT, mask_NT)  # to the sampler: to the reference
        side_N = (credit.advantage_NT * log_NT).sum(1)  # of m: the sign is in the advantage
        if self.loss_aggregation == "sequence":
            side_N = side_N / mask_NT.sum(1).clamp(min=1)
        number_U, pair_N = credit.pair_N[kept_N].unique(return_inverse=True)
        margin_U = self.beta * side_N.new_zeros(len(number_U)).index_add(0, pair_N, side_N[kept_N])
        pairs, won_U = max(batch.totals.sequences // 2, 1), (margin_U > 0).to(margin_U.dtype)
        return -logsigmoid(margin_U).sum() / pairs, {
            "entropy": aggregate.mean(outputs.entropy_NT.detach(), mask_NT, batch.totals, "token"),
            "rewards/margins": margin_U.detach().sum() / pairs,
            "rewards/accuracies": won_U.sum() / pairs,
        }
