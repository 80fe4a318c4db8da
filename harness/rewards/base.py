"""Completions -> rewards.  The judge is the task's own, the one that evaluation calls.

A source says what a completion is worth; the verdicts stand beside it whatever the source, so that reward and accuracy
can be seen to part ways.

| --reward            | a completion                        | its steps                                        |
|---------------------|-------------------------------------|--------------------------------------------------|
| `rule`              | 1 where the strict reading is right | -                                                |
| `FILE.py:function`  | what the function says              | -                                                |
| `process-rule`      | as `rule`                           | 1 where the task's checker finds the step right  |
| `outcome-model`     | a learned model's probability       | -                                                |
| `process-model`     | the same, of its last step          | the model's probability at the end of each       |

The final answer is the last step, so that every completion has one.  Learned models: `harness/reward_models/`.
Around a source stand the terms that `reward_weights` adds (`harness/terms.py`); `reward_noise` flips the rule's labels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from algos import Rollouts
from evals.tasks import Problem, Task
from evals.verification.verifier import Verdict
from harness.config.rewards import RewardFunction, rule

if TYPE_CHECKING:
    from harness.training.trainer import Trainer


@dataclass(frozen=True)
class Judged:
    """The verdicts of a round, in the order of its completions, and what the source says of its rewards."""

    verdicts: Sequence[Verdict]
    said: Mapping[str, float] = field(default_factory=dict)

    def share(self, outcome: str, reading: str = "strict") -> float:
        counts = Counter(getattr(v, reading) for v in self.verdicts)
        return counts[outcome] / max(len(self.verdicts), 1)


@dataclass(frozen=True)
class Answers:
    """What is read of a round's completions, one entry each, in their order."""

    problems: Sequence[Problem]
    texts: Sequence[str]
    verdicts: Sequence[Verdict]
    ordinal: int  # of the prompt draw of group 0; the draw of group k is the k-th after it

    def rows(self) -> Iterator[tuple[Problem, str, Verdict]]:
        return zip(self.problems, self.texts, self.verdicts, strict=True)


@dataclass(frozen=True)
class Explored:
    """Completions with their rewards, and what the algorithms do not see: text, problems, verdicts."""

    rollouts: Rollouts
    problems: Sequence[Problem]  # of each completion
    texts: Sequence[str]
    judged: Judged


class Source:
    """Where a run's rewards come from: here a function of the verdict.  The base of all others."""

    def __init__(self, function: RewardFunction = rule) -> None:
        self.function = function

    def rate(self, rollouts: Rollouts, answers: Answers) -> tuple[Rollouts, dict[str, float]]:
        """The rollouts with `reward_N` (and rewards of steps where there are any), and what to log of them."""
        rewards = [float(self.function(p, text, v)) for p, text, v in answers.rows()]
        device = rollouts.tokens_NS.device
        return replace(rollouts, reward_N=torch.tensor(rewards, dtype=torch.float32, device=device)), {}

    def begin(self, loop: Trainer) -> None:
        """Before the first round: what there is to prepare, at the run's expense."""

    def refresh(self, loop: Trainer) -> None:
        """At a new iteration, where the run asks for it."""
        raise ValueError("refresh_reward: there is no reward model to refresh; give --reward outcome-model")

    def modules(self) -> dict[str, Any]:
        """The models that a checkpoint keeps, by the name of their part of memory."""
        return {}

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What it is beside its models: numbers and tensors, for a checkpoint."""
        return {}, {}

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from there."""


def score(
    rollouts: Rollouts, problems: Sequence[Problem], texts: Sequence[str], task: Task, source: Source, ordinal: int
) -> tuple[Rollouts, Judged]:
    """Fill in `reward_N`, `valid_N` and `key_N`.  `problems[i]` is the problem of completion i; `ordinal` numbers the
    first prompt draw.

    A completion that the verifier could not judge is not wrong: its `valid_N` is 0 and it leaves its group.
    """
    device = rollouts.tokens_NS.device
    verdicts = judged(rollouts, problems, texts, task)
    rollouts, said = source.rate(rollouts, Answers(problems, texts, verdicts, ordinal))
    keys = [task.key(p, text) for p, text in zip(problems, texts, strict=True)]
    hashed = [int.from_bytes(hashlib.sha256(k.encode()).digest()[:8], "big", signed=True) for k in keys]
    return replace(
        rollouts,
        valid_N=torch.tensor([v.strict != "verifier_error" for v in verdicts], device=device),
        key_N=torch.tensor(hashed, dtype=torch.int64, device=device),
    ), Judged(verdicts, said)


def judged(rollouts: Rollouts, problems: Sequence[Problem], texts: Sequence[str], task: Task) -> list[Verdict]:
    """The task's verdict of each completion."""
    assert rollouts.ended_N is not None
    return [task.judge(p, text, e) for p, text, e in zip(problems, texts, rollouts.ended_N.tolist(), strict=True)]
