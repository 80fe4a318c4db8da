"""DRA-GRPO: rewards weighed by how unlike the rest of its group a completion is (2505.09655).

    w_i  = 1 / (sum_{j in g} cos(e_i, e_j) + 1e-6),   e_i the mean state of the completion's tokens
    A_i  = z of w_i r_i in its group

Of right answers those that say what the others say are worth less.  The released code (DRA-GRPO 0882661,
`grpo_trainer.py:662`) takes the sum over all completions of a device, and e from a text model; here it is the prompt's
group, and e the policy's own states: one more forward pass over the completions, charged.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algos.core.types import Requirement, Rollouts
from algos.grpo import GRPO
from algos.ops import reweighting


@dataclass(frozen=True, kw_only=True)
class DRA(GRPO):
    """GRPO with rewards that are shared out among completions that are alike."""

    @property
    def needs(self) -> frozenset[Requirement]:
        return super().needs | {"completion_embedding"}

    def outcome_advantages(self, reward_N: Tensor, valid_N: Tensor, r: Rollouts) -> Tensor:
        embedding_NE = r.metadata["completion_embedding"]
        share_N = reweighting.diversity_share(embedding_NE, r.group_N, valid_N).to(reward_N.dtype)
        return super().outcome_advantages(share_N * reward_N, valid_N, r)
