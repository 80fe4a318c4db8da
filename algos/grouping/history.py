"""Baselines that borrow strength from other rounds.  The memory is keyed by the problem's identity, as text: JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from algos.core.types import Requirement, Rollouts
from algos.grouping.base import Baseline, Memory, group_totals, metadata, per_prompt, problems_of, spread_to_rows
from algos.ops import advantages

ROUNDED = 12  # significant digits of what is kept of a problem


def _round(x: float) -> float:
    return float(f"{x:.{ROUNDED}g}")


@dataclass(frozen=True, kw_only=True)
class History(Baseline):
    """What the prompt's earlier completions got, faded: SPO's tracker at a fixed rate.

    v = a / n, before the round;  a <- rho a + sum r,  n <- rho n + count, after it.  A prompt that is new starts from
    `offline` completions of its own, sampled by the policy as it is, charged and not trained on:
    a = prior (sum s + 1/2) / (offline + 1), n = prior.  SPO sets rho from how far the policy has moved since the
    prompt's last answer, which takes a second reading of that answer; here it is a constant between the paper's bounds.
    """

    formula = "a/n before the round; a <- rho a + sum r, n <- rho n + count"
    source = "SPO, 2509.13232; verl-recipe 48ea0a7 spo_ray_trainer.py:240"
    remembers = True

    rho: float = 0.9  # how much of the past is kept per visit; SPO: 0.875 to 0.96, by the policy's drift
    prior: float = 8.0  # completions that the start counts for
    offline: int = 8  # completions of a new prompt that its start is made of, charged; 0: 1/2

    def __post_init__(self) -> None:
        if not 0 <= self.rho <= 1:
            raise ValueError(f"algo.baseline: history: rho must lie in 0..1, not {self.rho}")
        if self.prior <= 0 or self.offline < 0:
            raise ValueError("algo.baseline: history: prior must be positive, and offline not negative")

    @property
    def needs(self) -> frozenset[Requirement]:
        return frozenset({"metadata", "probes"} if self.offline else {"metadata"})

    def probes(self, problems: list[int], memory: Memory) -> list[int]:
        seen = memory.get("problems", {})
        return [0 if str(problem) in seen else self.offline for problem in problems]

    def _start(self, r: Rollouts) -> list[tuple[float, float]]:
        """(a, n) of each group's prompt, were it new."""
        if not self.offline:
            return [(self.prior / 2, self.prior)] * (int(r.group_N.max()) + 1)
        mean_P = per_prompt(metadata(r, "probe_reward", "baseline"), r.group_N)
        count_P = per_prompt(metadata(r, "probe_count", "baseline"), r.group_N)
        return [
            (_round(self.prior * (m * c + 0.5) / (c + 1)), self.prior)
            for m, c in zip(mean_P.tolist(), count_P.tolist(), strict=True)
        ]

    def _before(self, r: Rollouts, memory: Memory) -> list[tuple[float, float]]:
        seen: dict[str, Any] = memory.get("problems", {})
        starts = zip(problems_of(r), self._start(r), strict=True)
        return [tuple(seen[str(p)]) if str(p) in seen else start for p, start in starts]

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return spread_to_rows([a / n for a, n in self._before(r, memory)], r.group_N, reward_N)

    def learn(self, r: Rollouts, memory: Memory) -> Memory:
        assert r.reward_N is not None and r.valid_N is not None
        seen = dict(memory.get("problems", {}))
        sums, counts = group_totals(r.reward_N, r.group_N, r.valid_N)
        for problem, (a, n), total, count in zip(problems_of(r), self._before(r, memory), sums, counts, strict=True):
            a, n = seen.get(str(problem), (a, n))  # a problem drawn twice in a round learns twice
            seen[str(problem)] = [_round(self.rho * a + total), max(_round(self.rho * n + count), 1e-9)]
        return {"problems": seen}


@dataclass(frozen=True, kw_only=True)
class Window(Baseline):
    """The mean reward of the last rounds, this one excluded: temporal proximity alone."""

    formula, source = "mean reward of the last `rounds` rounds", "control (ours)"

    rounds: int = 8  # how many
    start: float = 0.5  # before the first

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"algo.baseline: window: rounds must be at least 1, not {self.rounds}")

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        past = memory.get("rounds", [])
        count = sum(n for _, n in past)
        return torch.full_like(reward_N, sum(s for s, _ in past) / count if count else self.start)

    def learn(self, r: Rollouts, memory: Memory) -> Memory:
        assert r.reward_N is not None and r.valid_N is not None
        sums, counts = group_totals(r.reward_N, r.group_N, r.valid_N)
        return {"rounds": [*memory.get("rounds", []), [_round(sum(sums)), sum(counts)]][-self.rounds :]}


@dataclass(frozen=True, kw_only=True)
class HistoryAnchor(Baseline):
    """The group's mean, and a weight by how far the group lies from the policy's accuracy so far.

    C <- (1-h) C + h y with y a round's mean reward, h = eta std(the last `window` C);  A <- Phi A,
    Phi = strength exp(-sgn A sgn(p - C) |p - C|), p the group's mean reward.
    """

    formula = "mean_j r_j;  A times l exp(-sgn A sgn(p-C) |p-C|), C an anchor over rounds"
    source = "HA-DW, 2601.08521; TRL branch aaed009 (unmerged)"
    unbiased, per_group = False, True

    eta: float = 0.1  # rate of the anchor, in deviations of its history
    window: int = 50  # rounds of that history
    strength: float = 1.3  # lambda

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return advantages.baseline_values(reward_N, r.group_N, valid_N, "group")

    def finish(
        self, advantage_N: Tensor, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory
    ) -> Tensor:
        if not memory.get("anchors"):  # nothing to be far from
            return advantage_N
        apart_N = advantages.baseline_values(reward_N, r.group_N, valid_N, "group") - memory["anchors"][-1]
        return advantage_N * self.strength * torch.exp(-advantage_N.sign() * apart_N)

    def learn(self, r: Rollouts, memory: Memory) -> Memory:
        assert r.reward_N is not None and r.valid_N is not None
        sums, counts = group_totals(r.reward_N, r.group_N, r.valid_N)
        past = list(memory.get("anchors", []))
        if not sum(counts):
            return memory
        mean = sum(sums) / sum(counts)
        if not past:
            return {"anchors": [_round(mean)]}
        centre = sum(past) / len(past)
        rate = min(1.0, self.eta * math.sqrt(sum((c - centre) ** 2 for c in past) / len(past)))
        # with a history of one the deviation is 0 and the anchor would never move: the plain rate, once
        rate = self.eta if len(past) < 2 else rate
        return {"anchors": [*past, _round((1 - rate) * past[-1] + rate * mean)][-self.window :]}


@dataclass(frozen=True, kw_only=True)
class Kalman(Baseline):
    """A filter that walks through a group's rewards, one after another: a cautionary arm.

    P <- P + q;  K = P/(P + noise);  x <- x + K (r_i - x);  P <- (1-K) P;  A_i = (r_i - x_i) / sqrt P_i, from x = 0,
    P = 1 in every group.  x_i has r_i in it, and depends on the order of the completions, which means nothing.
    """

    formula = "x_i of a filter over r_1..r_i, from x 0, P 1;  A_i = (r_i - x_i)/sqrt P_i"
    source = "KRPO, 2505.07527; KRPO_LLMs_RL df1ae2b train.py:157"
    unbiased = False

    q: float = 1e-5  # Q, how much the rate is thought to move from one completion to the next
    noise: float = 1e-2  # R, of a reward

    def _filtered(self, reward_N: Tensor, valid_N: Tensor, r: Rollouts) -> tuple[Tensor, Tensor]:
        at_N, var_N = torch.zeros_like(reward_N), torch.ones_like(reward_N)
        for g in r.group_N.unique():
            x, p = 0.0, 1.0
            for i in (valid_N & (r.group_N == g)).nonzero()[:, 0].tolist():
                p += self.q
                gain = p / (p + self.noise)
                x, p = x + gain * (float(reward_N[i]) - x), (1 - gain) * p
                at_N[i], var_N[i] = x, p
        return at_N, var_N

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return self._filtered(reward_N, valid_N, r)[0]

    def finish(
        self, advantage_N: Tensor, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory
    ) -> Tensor:
        return advantage_N / self._filtered(reward_N, valid_N, r)[1].sqrt()
