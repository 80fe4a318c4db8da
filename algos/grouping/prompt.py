"""Baselines over a prompt's own group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algos.core.types import Requirement, Rollouts
from algos.grouping.base import Baseline, Memory, metadata
from algos.ops import advantages


@dataclass(frozen=True, kw_only=True)
class _Closed(Baseline):
    """One of `ops.advantages.baseline_values`, by its name."""

    kind: ClassVar[advantages.Baseline]

    @property
    def needs(self) -> frozenset[Requirement]:
        return frozenset()

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        length_N = r.completion_mask_NT.sum(1)
        return advantages.baseline_values(reward_N, key_N, valid_N, self.kind, length_N)


@dataclass(frozen=True, kw_only=True)
class NoBaseline(_Closed):
    """Nothing: REINFORCE."""

    kind, formula, source = "none", "0", "REINFORCE"


@dataclass(frozen=True, kw_only=True)
class GroupMean(_Closed):
    """The group's mean, the completion itself included: (G-1)/G times leave-one-out's advantage."""

    kind, formula, source = "group", "mean_j r_j", "2402.03300 §4.1.2"
    unbiased, per_group, keyed = False, True, True


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(_Closed):
    """The mean of the group's others."""

    kind, formula, source = "leave_one_out", "mean_{j != i} r_j", "RLOO, 2402.14740"
    per_group, keyed = True, True


@dataclass(frozen=True, kw_only=True)
class LengthWeighted(_Closed):
    """The group's mean, weighted by length, the completion itself included."""

    kind, formula, source = "length", "sum_j len_j r_j / sum_j len_j", "OPO, 2505.23585"
    unbiased, per_group, keyed = False, True, True


@dataclass(frozen=True, kw_only=True)
class BatchMean(_Closed):
    """The mean of the round, the completion itself included."""

    kind, formula, source = "batch", "mean of the round", "REINFORCE++, 2501.03262"
    unbiased = False


@dataclass(frozen=True, kw_only=True)
class Greedy(Baseline):
    """The reward of the prompt's greedy completion, which is sampled, judged and charged besides."""

    formula, source = "r(greedy completion)", "ReMax, 2310.10505"

    @property
    def needs(self) -> frozenset[Requirement]:
        return frozenset({"metadata", "greedy"})

    def probes(self, problems: list[int], memory: Memory) -> list[int]:
        return [1] * len(problems)

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return metadata(r, "probe_reward", "baseline").to(reward_N.dtype)


@dataclass(frozen=True, kw_only=True)
class MultiScale(Baseline):
    """z-scores in random subgroups of several sizes, each with the completion in it, averaged."""

    formula = "A_i = mean over subgroups S with i in S of (r_i - mean_S) / std_S"
    source = "MS-GRPO; grpo-composer 2c98d7e core/advantages/multi_scale.py"
    unbiased, per_group = False, True

    scales: int = 4  # sizes, evenly from 2 to G
    subgroups: int = 4  # random subgroups of each size
    seed: int = 0  # of the subgroups

    def __post_init__(self) -> None:
        if self.scales < 1 or self.subgroups < 1:
            raise ValueError("algo.baseline: multiscale: scales and subgroups must be at least 1")

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return torch.zeros_like(reward_N)

    def finish(
        self, advantage_N: Tensor, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory
    ) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + int(memory.get("rounds", 0)))
        worth_N = torch.zeros_like(reward_N)
        for g in r.group_N.unique():
            member = (valid_N & (r.group_N == g)).nonzero()[:, 0]
            sizes = torch.linspace(2, len(member), self.scales).round().int().tolist() if len(member) > 1 else []
            for place, i in enumerate(member.tolist()):
                others = torch.cat([member[:place], member[place + 1 :]])
                for size in sizes:
                    for _ in range(self.subgroups):
                        chosen = others[torch.randperm(len(others), generator=generator)[: size - 1].to(others.device)]
                        worth_N[i] += self._z(reward_N[i], torch.cat([reward_N[i : i + 1], reward_N[chosen]]))
        return worth_N / (self.scales * self.subgroups)

    @staticmethod
    def _z(reward: Tensor, rewards: Tensor) -> Tensor:
        if bool((rewards == rewards[0]).all()):
            return torch.zeros_like(reward)
        return (reward - rewards.mean()) / rewards.std(unbiased=False)

    def learn(self, r: Rollouts, memory: Memory) -> Memory:
        return {"rounds": int(memory.get("rounds", 0)) + 1}
