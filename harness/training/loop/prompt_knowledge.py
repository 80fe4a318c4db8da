"""What a round's completions carry of their prompts beside their tokens, and what having it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from algos import Algorithm, Rollouts
from evals.tasks import Problem, Task
from harness.accounting.flops import RunFlops
from harness.models.policy import LMPolicy
from harness.rewards.base import RewardSource
from harness.rollout.metadata import completion_embeddings, hashed, prompt_embeddings, with_metadata, with_text
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
        if "text" in algo.needs:
            rollouts = with_text(rollouts, [problems[k] for k in rollouts.group_N.tolist()])
        if "embedding" in algo.needs:
            rollouts = self._with_embedding(rollouts)
        if "completion_embedding" in algo.needs:
            self.sampling.spend.flops += self.flops.policy.read(rollouts.attention_mask_NS.sum(1).tolist())
            own = {"completion_embedding": completion_embeddings(self.policy.lm, rollouts)}
            rollouts = replace(rollouts, metadata={**rollouts.metadata, **own})
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


def never_again(algo: Algorithm, drawn: int, share: float, problems: int) -> list[str]:
    """What the user should know after the first round: a memory of prompts of which none will be met again.

    `drawn` prompts took `share` of the budget; an epoch visits each of `problems` once.
    """
    if not algo.remembers_prompts or share <= 0 or drawn / share > problems:
        return []
    return [
        f"algo.baseline: it remembers prompts, and none is met again: the budget pays for about {drawn / share:,.0f} "
        f"of {problems:,} problems; give it fewer problems or a larger budget"
    ]
