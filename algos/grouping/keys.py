"""Groups other than a prompt's.  Shapes: N completions in P groups (a prompt draw each), E the width of an
embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from algos.core.types import Requirement, Rollouts
from algos.grouping.base import GroupKey, Memory, group_totals, metadata, per_prompt, problems_of
from algos.ops import clustering


@dataclass(frozen=True, kw_only=True)
class Prompt(GroupKey):
    """The completions of one prompt, as DeepSeekMath has it."""

    formula, source = "the prompt", "2402.03300 §4.1"

    @property
    def needs(self) -> frozenset[Requirement]:
        return frozenset()

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        return r.group_N


@dataclass(frozen=True, kw_only=True)
class Category(GroupKey):
    """Prompts of one kind, as the task names it (`source`): a data set, an operation."""

    formula, source = "equal `source` of the task's metadata", "OPO's task-level batches; control"
    reads = "source"

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        return metadata(r, "source", "group_by").unique(return_inverse=True)[1]


@dataclass(frozen=True, kw_only=True)
class Random(GroupKey):
    """Bins of equal size by the problem's identity: the control that bins by meaning must beat."""

    formula, source = "a hash of the problem", "control"

    bins: int = 4  # how many

    def __post_init__(self) -> None:
        _check_bins(self.bins, "random")

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        hashed = torch.tensor([(p * 2654435761) % (1 << 31) for p in problems_of(r, "group_by")], dtype=torch.float64)
        return _ranked(hashed, self.bins).to(r.group_N.device)[r.group_N]


@dataclass(frozen=True, kw_only=True)
class Difficulty(GroupKey):
    """Bins by how often prompts were solved in the rounds before, with boundaries that move with it.

    A prompt's score is its own past rate, shrunk by two completions towards the rate of its declared difficulty; where
    the task declares none, towards the rate of all.  Boundaries are the quantiles of the round's scores; `frozen` keeps
    those of the first round that had a past: the control.
    """

    formula = "quantile bin of the past success rate, by prompt and declared difficulty"
    source = "after Prompt-GDRO, 2601.19280"

    bins: int = 4  # how many
    boundaries: Literal["moving", "frozen"] = "moving"  # with what is observed, or as at first

    def __post_init__(self) -> None:
        _check_bins(self.bins, "difficulty")
        _check_word("difficulty", "boundaries", self.boundaries, ("moving", "frozen"))

    def _levels(self, r: Rollouts) -> list[str]:
        if "difficulty" not in r.metadata:
            return [""] * (int(r.group_N.max()) + 1)
        return [f"{x:g}" for x in per_prompt(r.metadata["difficulty"], r.group_N).tolist()]

    def scores(self, r: Rollouts, memory: Memory) -> Tensor:
        """(P,), float64, from rounds before this one alone."""
        problems, levels = memory.get("problems", {}), memory.get("levels", {})
        scores = []
        for problem, level in zip(problems_of(r, "group_by"), self._levels(r), strict=True):
            (s, n), (ls, ln) = problems.get(str(problem), (0.0, 0)), levels.get(level, (0.0, 0))
            prior = (ls + 0.5) / (ln + 1)
            scores.append((s + 2 * prior) / (n + 2))
        return torch.tensor(scores, dtype=torch.float64)

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        scores = self.scores(r, memory)
        edges = memory.get("edges")
        if self.boundaries == "frozen" and edges is not None:
            bin_P = torch.bucketize(scores, torch.tensor(edges, dtype=torch.float64))
        else:
            bin_P = _ranked(scores, self.bins)
        return bin_P.to(r.group_N.device)[r.group_N]

    def learn(self, r: Rollouts, memory: Memory) -> Memory:
        assert r.reward_N is not None and r.valid_N is not None
        sums, counts = group_totals(r.reward_N, r.group_N, r.valid_N)
        problems, levels = dict(memory.get("problems", {})), dict(memory.get("levels", {}))
        rows = zip(problems_of(r, "group_by"), self._levels(r), sums, counts, strict=True)
        for problem, level, total, count in rows:
            for table, name in ((problems, str(problem)), (levels, level)):
                s, n = table.get(name, (0.0, 0))
                table[name] = [s + total, n + count]
        learned: dict[str, Any] = {"problems": problems, "levels": levels}
        if memory.get("edges") is None and memory.get("problems"):
            scores = self.scores(r, memory)
            cuts = torch.linspace(0, 1, self.bins + 1, dtype=torch.float64)[1:-1]
            learned["edges"] = torch.quantile(scores, cuts).tolist()
        elif memory.get("edges") is not None:
            learned["edges"] = memory["edges"]
        return learned


@dataclass(frozen=True, kw_only=True)
class Cluster(GroupKey):
    """Prompts that are near in meaning: k-means over the policy's own states, averaged over the prompt's tokens; or,
    `of=text`, over the counts of a prompt's words and pairs of words, which no model reads.

    The first centre is the round's first prompt, each next one the prompt farthest from all centres: nothing is drawn.
    `permuted` deals the embeddings to other prompts of the round: the control.
    """

    formula = "k-means of mean-pooled prompt states, or of counts of words"
    source = "after VIP, 2601.01601, which has a kernel over prompt embeddings"

    of: Literal["states", "text"] = "states"  # what is near
    k: int = 4  # clusters
    steps: int = 10  # of Lloyd's algorithm
    permuted: bool = False  # the control

    def check_prompts(self, prompts: int) -> None:
        if self.k > prompts:
            raise ValueError(f"algo.group_by: cluster: {self.k} clusters, and a round has {prompts} prompts")

    def __post_init__(self) -> None:
        _check_word("cluster", "of", self.of, ("states", "text"))
        if self.k == 1:
            raise ValueError("algo.group_by: cluster(k=1) is one cluster for all, which is baseline=batch; k from 2")
        if self.k < 1 or self.steps < 1:
            raise ValueError("algo.group_by: cluster: k must be at least 2, and steps at least 1")

    @property
    def needs(self) -> frozenset[Requirement]:
        return frozenset({"metadata", "text" if self.of == "text" else "embedding"})

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        embedding_PE = per_prompt(metadata(r, "text" if self.of == "text" else "embedding", "group_by"), r.group_N)
        embedding_PE = embedding_PE.double()
        if self.permuted:
            hashed = torch.tensor([(p * 2654435761) % (1 << 31) for p in problems_of(r, "group_by")])
            order = torch.argsort(hashed, stable=True)
            embedding_PE = embedding_PE[order.argsort()[torch.arange(len(order))].flip(0)]
        fewer = min(self.k, len(embedding_PE))  # the last round is as long as the budget pays for
        return clustering.k_means(embedding_PE, fewer, self.steps)[r.group_N]


@dataclass(frozen=True, kw_only=True)
class RewardStrata(GroupKey):
    """Bins by the group's mean reward in this very round: it depends on what it corrects."""

    formula, source = "quantile bin of the group's mean reward", "control (unsafe)"
    safe = False

    bins: int = 4  # how many

    def __post_init__(self) -> None:
        _check_bins(self.bins, "reward")

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        assert r.reward_N is not None
        sums, counts = group_totals(r.reward_N, r.group_N, valid_N)
        means = torch.tensor([s / max(n, 1) for s, n in zip(sums, counts, strict=True)], dtype=torch.float64)
        return _ranked(means, self.bins).to(r.group_N.device)[r.group_N]


@dataclass(frozen=True, kw_only=True)
class LengthStrata(GroupKey):
    """Bins by the completion's own length, inside its prompt's group: Stratified GRPO's kind."""

    formula, source = "quantile bin of the completion's length, by prompt", "Stratified GRPO, 2510.06214"
    safe = False

    bins: int = 2  # how many

    def __post_init__(self) -> None:
        _check_bins(self.bins, "length")

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        length_N, bin_N = r.completion_mask_NT.sum(1).double(), torch.zeros_like(r.group_N)
        for g in r.group_N.unique():
            member = (r.group_N == g).nonzero()[:, 0]
            bin_N[member] = _ranked(length_N[member].cpu(), self.bins).to(bin_N.device)
        return (r.group_N * self.bins + bin_N).unique(return_inverse=True)[1]


def _check_word(name: str, option: str, word: str, valid: tuple[str, ...]) -> None:
    if word not in valid:
        raise ValueError(f"algo.group_by: {name}: {option} must be {' or '.join(valid)}, not {word}")


def _check_bins(bins: int, name: str) -> None:
    if bins < 2:
        raise ValueError(
            f"algo.group_by: {name}(bins={bins}) is one group for all, which is baseline=batch; from 2 bins"
        )


def _ranked(score_K: Tensor, bins: int) -> Tensor:
    """The quantile bin of each, 0 .. bins - 1; equal scores share one.  (K,), int64."""
    below_K = (score_K[None, :] < score_K[:, None]).sum(1)
    return (below_K * bins) // max(len(score_K), 1)
