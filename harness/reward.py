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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from algos import Rollouts
from algos.algorithm import import_file
from evals.tasks import Problem, Task
from evals.verify import Verdict
from harness import terms
from harness.noise import uniforms
from harness.steps import lay, places

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.train import Trainer

RewardFunction = Callable[[Problem, str, Verdict], float]


def rule(problem: Problem, completion: str, verdict: Verdict) -> float:
    """1 where the strict reading is correct, else 0."""
    return float(verdict.strict == "correct")


def load_function(name: str) -> RewardFunction:
    """`rule`, or FILE.py:function with the signature of `rule`.  Raises ValueError where it cannot be had."""
    if name == "rule":
        return rule
    file, colon, function = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise ValueError(f"reward: '{name}' is none of {', '.join(NAMES)}, and not FILE.py:function")
    module = import_file(Path(file), "reward")
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"reward: {file} has no function '{function}'")
    return found


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


class Noisy(Source):
    """`rule` with wrong labels: r becomes 1 - r with probability `share`, for each completion by itself.

    DeepSeekMath (2402.03300 §5.2.3) names 20 % of wrong labels in PRM800K.  Whether a completion is hit depends on
    (seed, draw of its prompt, its place in the group) alone: arms of one seed see the same flips, and who is hit at
    5 % is hit at 10 %.  Verdicts know nothing of it.  At 0 it is the rule, at 0.5 a coin.
    """

    def __init__(self, share: float, seed: int) -> None:
        super().__init__()
        self.share, self.seed = share, seed

    def rate(self, rollouts: Rollouts, answers: Answers) -> tuple[Rollouts, dict[str, float]]:
        rollouts, said = super().rate(rollouts, answers)
        assert rollouts.reward_N is not None
        groups, place = rollouts.group_N.tolist(), defaultdict[int, Iterator[int]](count)
        ordinals, places = [answers.ordinal + g for g in groups], [next(place[g]) for g in groups]
        u_N1 = uniforms(self.seed, "reward noise", ordinals, places, 1)
        hit_N = torch.from_numpy(u_N1[:, 0] < self.share).to(rollouts.reward_N.device)
        reward_N = torch.where(hit_N, 1 - rollouts.reward_N, rollouts.reward_N)
        return replace(rollouts, reward_N=reward_N), {**said, "reward/flipped": float(hit_N.double().mean())}


class Composed(Source):
    """A source and other terms beside it: reward = sum of weight x term (`harness/terms.py`).

    Where steps have rewards, theirs are weighed as `accuracy` is, and the other terms are added to the last step's.
    """

    def __init__(self, source: Source, weights: Mapping[str, float], task: Task, max_new_tokens: int) -> None:
        super().__init__()
        self.source, self.task, self.max_new_tokens = source, task, max_new_tokens
        self.accuracy = weights.get(terms.ACCURACY, 1.0)
        self.weights = {name: weight for name, weight in weights.items() if name != terms.ACCURACY}

    def rate(self, rollouts: Rollouts, answers: Answers) -> tuple[Rollouts, dict[str, float]]:
        r, said = self.source.rate(rollouts, answers)
        assert r.reward_N is not None
        lengths = r.mask_NT.sum(1)
        rows = zip(answers.rows(), lengths.tolist(), strict=True)
        seen = [terms.Seen(self.task, p, text, v, n, self.max_new_tokens) for (p, text, v), n in rows]
        found = {name: r.reward_N.new_tensor([terms.TERMS[name](one) for one in seen]) for name in self.weights}
        more_N = sum((self.weights[name] * term_N for name, term_N in found.items()), torch.zeros_like(r.reward_N))
        known_N = torch.tensor([v.strict != "verifier_error" for v in answers.verdicts], device=more_N.device)
        for name, term_N in {terms.ACCURACY: r.reward_N, **found}.items():  # of what stays in its group, as `reward`
            said = {**said, f"reward/{name}": float(term_N[known_N].mean()) if known_N.any() else 0.0}
        step_reward_NT = r.step_reward_NT
        if step_reward_NT is not None:
            last_N1 = lengths[:, None] - 1
            step_reward_NT = (self.accuracy * step_reward_NT).scatter_add(1, last_N1, more_N[:, None])
        return replace(r, reward_N=self.accuracy * r.reward_N + more_N, step_reward_NT=step_reward_NT), said

    def begin(self, loop: Trainer) -> None:
        self.source.begin(loop)

    def refresh(self, loop: Trainer) -> None:
        self.source.refresh(loop)

    def modules(self) -> dict[str, Any]:
        return self.source.modules()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return self.source.state()

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.source.load(state, tensors)


class Stepwise(Source):
    """`process-rule`: the task's own checker of steps, and the verdict for the last one."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        super().__init__()
        self.task, self.tokenizer = task, tokenizer

    def rate(self, rollouts: Rollouts, answers: Answers) -> tuple[Rollouts, dict[str, float]]:
        rollouts, _ = super().rate(rollouts, answers)
        assert rollouts.reward_N is not None
        steps = [self.task.steps(p, text) or [] for p, text, _ in answers.rows()]
        finals = rollouts.reward_N.tolist()
        rewards = [[float(s.right) for s in found] + [final] for found, final in zip(steps, finals, strict=True)]
        at = places(self.tokenizer, rollouts, [[s.end for s in found] for found in steps])
        end_NT, reward_NT = lay(rollouts, at, rewards)
        marks = [s.right for found in steps for s in found]
        said = {"steps/right": sum(marks) / max(len(marks), 1), "steps/written": len(marks) / max(len(steps), 1)}
        return replace(rollouts, step_end_NT=end_NT, step_reward_NT=reward_NT), said


LEARNED = ("outcome-model", "process-model")
STEPWISE = ("process-rule", "process-model")
NAMES = ("rule", "process-rule", *LEARNED)


def check_reward(config: RunConfig, task: Task, steps: bool) -> None:
    """Raises ValueError, one line, where a reward's name or term is unknown, the task does not give what it takes, or
    an algorithm asks for rewards of `steps` and gets none."""
    name = config.reward
    terms.check_terms(config.reward_weights, task)
    if name not in NAMES:
        load_function(name)
    checked = name == "process-rule" or (name == "process-model" and config.reward_model.get("labels") == "rule")
    declared = ("steps",) if checked else ("steps", "step_ends") if name == "process-model" else ()
    if declared and all(getattr(type(task), method) is getattr(Task, method) for method in declared):
        what, asked = "checks" if checked else "declares", name
        if checked and name == "process-model":
            asked = "process-model with reward_model.labels=rule"
        raise ValueError(
            f"reward: {asked} needs a task that {what} steps, and '{task.name}' {what} none; valid: rule, outcome-model"
        )
    if steps and name not in STEPWISE:
        valid = " or ".join(STEPWISE)
        raise ValueError(f"reward: algo.supervision=process needs rewards of steps, which {name} has not; {valid}")


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
