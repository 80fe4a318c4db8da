"""Completions -> rewards.  The verifier is the task's own, the one that evaluation calls.

A source gives each completion its reward.  The verdicts are kept beside it for every source, so that a divergence of
reward and accuracy shows.

| --reward            | a completion                        | its steps                                        |
|---------------------|-------------------------------------|--------------------------------------------------|
| `rule`              | 1 where the strict reading is right | -                                                |
| `FILE.py:function`  | what it returns (user_function.py)  | -                                                |
| `process-rule`      | as `rule`                           | 1 where the task's checker finds the step right  |
| `outcome-model`     | a learned model's probability       | -                                                |
| `process-model`     | the same, of its last step          | the model's probability at the end of each       |

The final answer is the last step, so that every completion has one.  Learned models: `harness/rewards/`.
`reward_weights` adds shaping terms (`harness/rewards/shaping.py`); `reward_noise` flips the rule's labels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from algos import Rollouts
from evals.tasks import Problem, Task
from evals.verification.transcript import Transcript, turns_of
from evals.verification.verifier import Verdict
from harness.accounting.budget import Budget, Spend
from harness.accounting.profiler import PhaseProfiler
from harness.config.rewards import rule
from harness.processes.group import current


@dataclass(frozen=True)
class JudgedRound:
    """The verdicts of a round, in the order of its completions, and what the source logs of its rewards."""

    verdicts: Sequence[Verdict]
    metrics: Mapping[str, float] = field(default_factory=dict)

    def share(self, outcome: str, reading: str = "strict") -> float:
        counts = Counter(getattr(v, reading) for v in self.verdicts)
        return counts[outcome] / max(len(self.verdicts), 1)


@dataclass(frozen=True)
class JudgedCompletions:
    """What is read of a round's completions, one entry each, in their order."""

    problems: Sequence[Problem]
    texts: Sequence[str]
    verdicts: Sequence[Verdict]
    ordinal: int  # of the prompt draw of group 0; the draw of group k is the k-th after it

    def rows(self) -> Iterator[tuple[Problem, str, Verdict]]:
        return zip(self.problems, self.texts, self.verdicts, strict=True)


@dataclass(frozen=True)
class RewardedRollouts:
    """Completions with their rewards, and what the algorithms do not see: text, problems, verdicts."""

    rollouts: Rollouts
    problems: Sequence[Problem]  # of each completion
    texts: Sequence[str]
    judged: JudgedRound


class SamplingContext(Protocol):
    """What a reward may touch of a run: it may sample from the policy, at the run's expense.

    The loop implements it (`harness/training/completions.py`); a reward never sees the loop.
    """

    budget: Budget
    spend: Spend
    profiler: PhaseProfiler

    @property
    def problems(self) -> Sequence[Problem]:
        """Of the training split."""
        ...

    @property
    def seed(self) -> int: ...

    @property
    def max_new_tokens(self) -> int: ...

    @property
    def pad(self) -> int:
        """The padding token."""
        ...

    def sample(
        self, problems: Sequence[Problem], count: int, stream: str, ordinals: list[int]
    ) -> tuple[Rollouts, list[str]]:
        """`count` completions of each problem and their texts, charged; the noise is that of (stream, ordinal)."""
        ...

    def probe(
        self, problems: Sequence[Problem], count: int, greedy: bool, ordinals: list[int]
    ) -> tuple[Rollouts, list[str]]:
        """`count` completions of each problem of the round, greedy or sampled, and their texts; charged, their prompts
        are not: the round's completions have paid for those."""
        ...

    def extend(
        self, prefixes: list[list[int]], written: int, count: int, stream: str, ordinals: list[int]
    ) -> tuple[Rollouts, list[str]]:
        """`count` ways to end each prefix (token ids), charged, and the texts of the whole completions.

        The last `written` tokens of each prefix belong to its completion.
        """
        ...


class RewardSource:
    """Where a run's rewards come from: here the rule.  The base of all others."""

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        """The rollouts with `reward_N` (and rewards of steps where there are any), and metrics to log."""
        rewards = [rule(p, text, v) for p, text, v in answers.rows()]
        device = rollouts.tokens_NS.device
        return replace(rollouts, reward_N=torch.tensor(rewards, dtype=torch.float32, device=device)), {}

    def begin(self, context: SamplingContext) -> None:
        """Before the first round: what there is to prepare, at the run's expense."""

    def refresh(self, context: SamplingContext) -> None:
        """At a new iteration, where the run asks for it."""
        raise ValueError("refresh_reward: there is no reward model to refresh; give --reward outcome-model")

    def modules(self) -> dict[str, Any]:
        """The models that a checkpoint keeps, by the name of their part of memory."""
        return {}

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What it is beside its models: numbers and tensors, for a checkpoint."""
        return {}, {}

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Continue from there."""


def score(
    rollouts: Rollouts,
    problems: Sequence[Problem],
    texts: Sequence[str],
    task: Task,
    source: RewardSource,
    ordinal: int,
) -> tuple[Rollouts, JudgedRound]:
    """Fill in `reward_N`, `valid_N` and `solution_id_N`.

    `problems[i]` is the problem of completion i; `ordinal` numbers the first prompt draw.

    A completion that the verifier could not decide is not wrong: its `valid_N` is 0 and it leaves its group.  So does
    one that a source could not rate, for which it has set `valid_N` to 0.
    """
    device = rollouts.tokens_NS.device
    verdicts = verify(rollouts, problems, texts, task)
    rollouts, metrics = source.rate(rollouts, JudgedCompletions(problems, texts, verdicts, ordinal))
    keys = [task.key(p, text) for p, text in zip(problems, texts, strict=True)]
    hashed = [int.from_bytes(hashlib.sha256(k.encode()).digest()[:8], "big", signed=True) for k in keys]
    decided_N = torch.tensor([v.strict != "verifier_error" for v in verdicts], device=device)
    return replace(
        rollouts,
        valid_N=decided_N if rollouts.valid_N is None else decided_N & rollouts.valid_N,
        solution_id_N=torch.tensor(hashed, dtype=torch.int64, device=device),
    ), JudgedRound(verdicts, {**metrics, **measured(task, problems, texts, verdicts)})


def measured(
    task: Task, problems: Sequence[Problem], texts: Sequence[str], verdicts: Sequence[Verdict]
) -> dict[str, float]:
    """What a round logs beside rewards: the means of the task's own measures (`task/NAME`), and of tools' use.

    `tools/calls` a completion, the share of them that `tools/failed`, and completions that called `tools/used`.
    """
    found: dict[str, list[float]] = {}
    for row in zip(problems, texts, verdicts, strict=True):
        for name, value in task.measures(*row).items():
            found.setdefault(f"task/{name}", []).append(float(value))
    means = {name: sum(values) / len(values) for name, values in found.items()}
    if any(isinstance(text, Transcript) for text in texts):
        turns = [turns_of(text) for text in texts]
        calls = sum(map(len, turns))
        failed = sum(turn.failed for some in turns for turn in some)
        means |= {"tools/calls": calls / len(texts), "tools/failed": failed / max(calls, 1)}
        means["tools/used"] = sum(map(bool, turns)) / len(texts)
    return means


def verify(rollouts: Rollouts, problems: Sequence[Problem], texts: Sequence[str], task: Task) -> list[Verdict]:
    """The task's verdict of each completion: given once, by one of the run's processes."""
    assert rollouts.finished_N is not None
    rows = list(zip(problems, texts, rollouts.finished_N.tolist(), strict=True))
    return current().map(lambda mine: [task.verify(*row) for row in mine], rows)
