"""Completions -> rewards.  The judge is the task's own, the one that evaluation calls."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from algos import Rollouts
from algos.algorithm import import_file
from evals.tasks import Problem, Task
from evals.verify import Verdict

RewardFunction = Callable[[Problem, str, Verdict], float]


def rule(problem: Problem, completion: str, verdict: Verdict) -> float:
    """1 where the strict reading is correct, else 0."""
    return float(verdict.strict == "correct")


def load_reward(name: str) -> RewardFunction:
    """`rule`, or FILE.py:function with the signature of `rule`.  Raises ValueError where it cannot be had."""
    if name == "rule":
        return rule
    file, colon, function = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise ValueError(f"reward: '{name}' is neither 'rule' nor FILE.py:function")
    module = import_file(Path(file), "reward")
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"reward: {file} has no function '{function}'")
    return found


@dataclass(frozen=True)
class Judged:
    """The verdicts of a round, in the order of its completions."""

    verdicts: Sequence[Verdict]

    def share(self, outcome: str, reading: str = "strict") -> float:
        counts = Counter(getattr(v, reading) for v in self.verdicts)
        return counts[outcome] / max(len(self.verdicts), 1)


@dataclass(frozen=True)
class Explored:
    """Completions with their rewards, and what the algorithms do not see: text, problems, verdicts."""

    rollouts: Rollouts
    problems: Sequence[Problem]  # of each completion
    texts: Sequence[str]
    judged: Judged


def score(
    rollouts: Rollouts, problems: Sequence[Problem], texts: Sequence[str], task: Task, reward: RewardFunction
) -> tuple[Rollouts, Judged]:
    """Fill in `reward_N`, `valid_N` and `key_N`.  `problems[i]` is the problem of completion i.

    A completion that the verifier could not judge is not wrong: its `valid_N` is 0 and it leaves its group.
    """
    assert rollouts.ended_N is not None
    device = rollouts.tokens_NS.device
    ended = rollouts.ended_N.tolist()
    verdicts = [task.judge(p, text, e) for p, text, e in zip(problems, texts, ended, strict=True)]
    rewards = [float(reward(p, text, v)) for p, text, v in zip(problems, texts, verdicts, strict=True)]
    keys = [task.key(p, text) for p, text in zip(problems, texts, strict=True)]
    hashed = [int.from_bytes(hashlib.sha256(k.encode()).digest()[:8], "big", signed=True) for k in keys]
    return replace(
        rollouts,
        reward_N=torch.tensor(rewards, dtype=torch.float32, device=device),
        valid_N=torch.tensor([v.strict != "verifier_error" for v in verdicts], device=device),
        key_N=torch.tensor(hashed, dtype=torch.int64, device=device),
    ), Judged(verdicts)
