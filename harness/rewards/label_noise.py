"""The rule's labels, some of them flipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import torch

from algos import Rollouts
from harness.rewards.base import JudgedCompletions, RewardSource
from harness.rollout.rng import uniforms


class LabelNoise(RewardSource):
    """`rule` with wrong labels: r becomes 1 - r with probability `share`, for each completion by itself.

    DeepSeekMath (2402.03300 §5.2.3) names 20 % of wrong labels in PRM800K.  Whether a completion is hit depends on
    (seed, draw of its prompt, its place in the group) alone: arms of one seed see the same flips, and who is hit at
    5 % is hit at 10 %.  Verdicts know nothing of it.  At 0 it is the rule, at 0.5 a coin.
    """

    def __init__(self, share: float, seed: int) -> None:
        super().__init__()
        self.share, self.seed = share, seed

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        rollouts, metrics = super().rate(rollouts, answers)
        assert rollouts.reward_N is not None
        groups, place = rollouts.group_N.tolist(), defaultdict[int, Iterator[int]](count)
        ordinals, places = [answers.ordinal + g for g in groups], [next(place[g]) for g in groups]
        u_N1 = uniforms(self.seed, "reward noise", ordinals, places, 1)
        hit_N = torch.from_numpy(u_N1[:, 0] < self.share).to(rollouts.reward_N.device)
        reward_N = torch.where(hit_N, 1 - rollouts.reward_N, rollouts.reward_N)
        return replace(rollouts, reward_N=reward_N), {**metrics, "reward/flipped": float(hit_N.double().mean())}
