"""Completions that tell what a prompt's reward is like, and are not trained on: greedy ones (ReMax), or samples (SPO).

They are judged by the run's own reward, and charged like any other completion; their prompts are the round's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from algos import Rollouts
from evals.tasks import Problem, Task
from harness.rewards.base import RewardSource, SamplingContext, score


def with_probes(
    rollouts: Rollouts,
    problems: Sequence[Problem],
    counts: Sequence[int],
    greedy: bool,
    context: SamplingContext,
    task: Task,
    source: RewardSource,
    ordinal: int,
) -> Rollouts:
    """Rollouts with `probe_reward` and `probe_count` of each completion's prompt, over what the verifier could judge.

    `counts[k]` probes of the k-th problem, which is the prompt draw `ordinal` + k.  None: 0 of 0.
    """
    device = rollouts.tokens_NS.device
    total_P, count_P = torch.zeros(len(problems), device=device), torch.zeros(len(problems), device=device)
    for count in sorted(set(counts) - {0}):
        asked = [k for k, c in enumerate(counts) if c == count]
        owners = [problems[k] for k in asked]
        probes, texts = context.probe(owners, count, greedy, [ordinal + k for k in asked])
        each = [p for p in owners for _ in range(count)]
        judged, _ = score(probes, each, texts, task, source, ordinal)
        assert judged.reward_N is not None and judged.valid_N is not None
        place_N = torch.tensor(asked, device=device)[judged.group_N]
        total_P.index_add_(0, place_N, torch.where(judged.valid_N, judged.reward_N, 0).float())
        count_P.index_add_(0, place_N, judged.valid_N.float())
    known = {
        "probe_reward": (total_P / count_P.clamp(min=1))[rollouts.group_N],
        "probe_count": count_P[rollouts.group_N],
    }
    return replace(rollouts, metadata={**rollouts.metadata, **known})
