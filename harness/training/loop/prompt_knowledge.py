"""What a round's completions carry of their prompts beside their tokens, and what having it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from algos import Algorithm, Rollouts
from evals.tasks import Problem, Task
from harness.accounting.flops import RunFlops
from harness.models.policy import LMPolicy
from harness.rewards.base import RewardSource
from harness.rollout.metadata import hashed, prompt_embeddings, with_metadata
from harness.training.completions import RewardSampling
from harness.training.loop.probes import with_probes


@dataclass(frozen=True)
class PromptKnowledge:
    """Metadata, probes and embeddings, each for an algorithm that needs it alone; the last two at the run's expense."""

    task: Task
    source: RewardSource
    sampling: RewardSampling
    policy: LMPolicy
    flops: RunFlops

    def add(
        self, algo: Algorithm, rollouts: Rollouts, problems: Sequence[Problem], ordinal: int, number: int
    ) -> Rollouts:
        """`problems[k]` is that of group k and the prompt draw `ordinal` + k; `number` the round's."""
        if "metadata" in algo.needs:
            owners = [problems[k] for k in rollouts.group_N.tolist()]
            rollouts = with_metadata(rollouts, owners, self.task, number)
        if "embedding" in algo.needs:
            rollouts = self._with_embedding(rollouts)
        if algo.needs & {"greedy", "probes"}:
            counts = algo.probes([hashed(p.id) for p in problems])
            greedy = "greedy" in algo.needs
            rollouts = with_probes(rollouts, problems, counts, greedy, self.sampling, self.task, self.source, ordinal)
        return rollouts

    def _with_embedding(self, rollouts: Rollouts) -> Rollouts:
        """The policy's own states, averaged over each prompt's tokens: one more forward pass over the prompts."""
        embedding_PE, lengths = prompt_embeddings(self.policy.lm, rollouts)
        self.sampling.spend.flops += self.flops.policy.read(lengths)
        known: dict[str, Any] = {"embedding": embedding_PE[rollouts.group_N]}
        return replace(rollouts, metadata={**rollouts.metadata, **known})


def problem_keys(problems: Sequence[Problem]) -> torch.Tensor:
    """Of a list of problems, as `metadata["problem"]` has them."""
    return torch.tensor([hashed(p.id) for p in problems])
