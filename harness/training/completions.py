"""Where a round's completions come from, and what having them costs.

| class                | completions                                                | `Schedule.source`    |
|----------------------|------------------------------------------------------------|----------------------|
| `SampledCompletions` | the policy's own, G per prompt                             | `live`, `initial`    |
| `WrittenSolutions`   | the task's written solution of each prompt, G = 1          | `dataset`            |
| `RewardSampling`     | the policy's own, for a reward model to learn from         | any                  |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from algos import Rollouts, Schedule
from evals.tasks import Problem, Task
from evals.tasks.traces import Trace
from harness.accounting.budget import Budget, Spend
from harness.accounting.flops import RunFlops
from harness.accounting.profiler import PhaseProfiler
from harness.models.policy import LMPolicy
from harness.rollout.collate import assembled, complete, lengths_by_group, sample, sampled_tokens, tool_use
from harness.rollout.prompts import PromptStream
from harness.rollout.sampler import Completions, Sampler, Sampling
from harness.rollout.tokenization import PromptTokenizer


class CompletionSource(Protocol):
    """Completions of a round's prompts."""

    def complete(self, problems: Sequence[Problem], ordinal: int) -> tuple[Rollouts, list[str]]:
        """G completions of each problem, and their texts; `ordinal` numbers the first prompt draw."""
        ...

    def charge(self, rollouts: Rollouts, groups: int, spend: Spend) -> None:
        """Enter them, and what reads them besides the policy, in a ledger."""
        ...


@dataclass(frozen=True)
class SampledCompletions:
    """Sampled from the policy as it is."""

    sampler: Sampler
    tokenizer: PromptTokenizer
    sampling: Sampling
    group_size: int
    flops: RunFlops

    def complete(self, problems: Sequence[Problem], ordinal: int) -> tuple[Rollouts, list[str]]:
        ordinals = list(range(ordinal, ordinal + len(problems)))
        return sample(self.sampler, self.tokenizer, problems, self.group_size, self.sampling, ordinals)

    def charge(self, rollouts: Rollouts, groups: int, spend: Spend) -> None:
        prompts, completions = lengths_by_group(rollouts, self.group_size)
        flops = self.flops.explore(prompts, completions)
        spend.charge_rollout(groups, sampled_tokens(rollouts), flops, tools=tool_use(rollouts))


@dataclass(frozen=True)
class WrittenSolutions:
    """The task's solution of each prompt, or the completion that a file (`data`) has for it, with the end token.

    Nothing is generated, so neither generated tokens nor the FLOPs of a rollout are charged; prompts, completions,
    updates and what is trained are.  The task's verifier reads the solutions like any completion, and is counted: a set
    that it does not accept shows in `accuracy/strict`.  The policy's own log-probabilities just before the update stand
    in for the sampler's, so that the check at the first update compares two readings; this takes time that belongs to
    no method.
    """

    tokenizer: PromptTokenizer
    task: Task
    policy: LMPolicy
    pad: int
    flops: RunFlops

    def complete(self, problems: Sequence[Problem], ordinal: int) -> tuple[Rollouts, list[str]]:
        prompts = [self.tokenizer.ids(self.tokenizer.render(p), p.id) for p in problems]
        texts = [written_solution(self.task, p) or "" for p in problems]
        rows = [self.tokenizer.solution(text) for text in texts]
        width, device = max(map(len, rows)), self.policy.device
        tokens_NT = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows], device=device)
        zeros_NT, length_N = torch.zeros(tokens_NT.shape, device=device), torch.tensor([*map(len, rows)], device=device)
        done = Completions(tokens_NT, zeros_NT, zeros_NT, length_N, torch.ones_like(length_N, dtype=torch.bool))
        rollouts = assembled(prompts, done, 1, self.pad)
        return replace(rollouts, logp_NT=self.policy.score(rollouts), entropy_NT=None), texts

    def charge(self, rollouts: Rollouts, groups: int, spend: Spend) -> None:
        flops = self.flops.annotate(rollouts.attention_mask_NS.sum(1).tolist())
        spend.charge_rollout(groups, rollouts.completion_mask_NT.sum(1).tolist(), flops, generated=False)


def written_solution(task: Task, problem: Problem) -> str | None:
    """The completion that a file has for it, else the task's own; None where none is written."""
    return problem.completion if isinstance(problem, Trace) else task.solution(problem)


def with_solutions(
    task: Task, problems: Sequence[Problem], tokenizer: PromptTokenizer
) -> tuple[list[Problem], list[str]]:
    """The problems with a solution of at most `max_new_tokens` tokens, and a notice about the others.

    They are left out and counted: no completion is cut to fit.  Where none is left out, the prompts are every other
    arm's.  Raises ValueError where nothing is left.
    """
    solutions = [(problem, written_solution(task, problem)) for problem in problems]
    written = [(problem, text) for problem, text in solutions if text is not None]
    kept = [problem for problem, text in written if len(tokenizer.solution(text)) <= tokenizer.max_new_tokens]
    short = f"fits max_new_tokens={tokenizer.max_new_tokens}"
    if not kept:
        count = f"has {len(written)} written solutions, of which none {short}"
        what = count if written else "has no written solutions"
        raise ValueError(f"task: '{task.name}' {what}: there is nothing for source=dataset to train on")
    left_out = [
        (len(problems) - len(written), "have no written solution"),
        (len(written) - len(kept), f"have a solution that no longer {short}"),
    ]
    return kept, [f"{n} of {len(problems)} training problems left out: they {why}" for n, why in left_out if n]


@dataclass
class RewardSampling:
    """What a reward may touch of a run (`rewards.base.SamplingContext`).  All that is sampled here is charged.

    `prompts` counts the prompts drawn here: they are in the ledger, and not in the run's own order of problems.
    """

    sampler: Sampler
    tokenizer: PromptTokenizer
    sampling: Sampling
    stream: PromptStream
    flops: RunFlops
    budget: Budget
    spend: Spend
    profiler: PhaseProfiler
    prompts: int = 0

    @property
    def problems(self) -> Sequence[Problem]:
        return self.stream.problems

    @property
    def seed(self) -> int:
        return self.stream.seed

    @property
    def max_new_tokens(self) -> int:
        return self.sampling.max_new_tokens

    @property
    def pad(self) -> int:
        return self.sampler.pad

    def sample(
        self, problems: Sequence[Problem], count: int, stream: str, ordinals: list[int]
    ) -> tuple[Rollouts, list[str]]:
        sampling = replace(self.sampling, stream=stream)
        rollouts, texts = sample(self.sampler, self.tokenizer, problems, count, sampling, ordinals)
        self._charge(rollouts, len(problems), count)
        return rollouts, texts

    def extend(
        self, prefixes: list[list[int]], written: int, count: int, stream: str, ordinals: list[int]
    ) -> tuple[Rollouts, list[str]]:
        sampling = replace(self.sampling, max_new_tokens=self.max_new_tokens - written, stream=stream)
        rollouts, _ = complete(self.sampler, prefixes, count, sampling, ordinals)
        self._charge(rollouts, 0, count)
        return rollouts, self._whole_texts(rollouts, written)

    def probe(
        self, problems: Sequence[Problem], count: int, greedy: bool, ordinals: list[int]
    ) -> tuple[Rollouts, list[str]]:
        temperature = 0.0 if greedy else self.sampling.temperature
        sampling = replace(self.sampling, temperature=temperature, stream="greedy" if greedy else "probes")
        rollouts, texts = sample(self.sampler, self.tokenizer, problems, count, sampling, ordinals)
        self._charge(rollouts, 0, count)
        if self.flops.reward_model is not None:
            self.spend.flops += self.flops.reward_model.read(rollouts.attention_mask_NS.sum(1).tolist())
        return rollouts, texts

    def _charge(self, rollouts: Rollouts, prompts: int, count: int) -> None:
        """The policy's FLOPs alone: no reference and no value model reads these."""
        before, completions = lengths_by_group(rollouts, count)
        flops = self.flops.policy.rollout(before, completions)
        self.spend.charge_rollout(prompts, sampled_tokens(rollouts), flops, tools=tool_use(rollouts))
        self.prompts += prompts

    def _whole_texts(self, rollouts: Rollouts, written: int) -> list[str]:
        """Whole completions: the `written` tokens that end the prefix, and the continuation."""
        width = rollouts.completion_mask_NT.shape[1] + written
        rows = zip(rollouts.tokens_NS[:, -width:], rollouts.attention_mask_NS[:, -width:], strict=True)
        ids = [tokens[real].tolist() for tokens, real in rows]
        texts: list[str] = self.tokenizer.tokenizer.batch_decode(ids, skip_special_tokens=True)
        for stop in self.sampling.stop:
            texts = [text.split(stop)[0] for text in texts]
        return texts


def group_bound(
    unit: str,
    schedule: Schedule,
    new: int,
    flops: RunFlops,
    longest: int,
    probes: int = 0,
    answered: int = 0,
) -> float | None:
    """The most that one group can cost, in the budget's unit (for `updates`: what a round costs).

    `longest` prompt, `new` tokens of a completion and `answered` ones of its tools, at the most; `probes` more
    completions of it, at the most.
    """
    tokens = schedule.group_size * new
    lengths = [longest + new + answered] * schedule.group_size
    sampled = flops.explore([longest], [[new + answered] * schedule.group_size])
    explored = flops.annotate(lengths) if schedule.source == "dataset" else sampled
    trained = flops.update(lengths) if schedule.source != "initial" else 0.0
    bounds = {
        "prompts": 1.0,
        "completions": float(schedule.group_size + probes),
        "updates": float(schedule.updates),
        "generated_tokens": float(tokens + probes * new),
        "trained_tokens": float(tokens * schedule.epochs),
        "flops": explored + schedule.epochs * trained + flops.policy.rollout([longest], [[new + answered] * probes]),
    }
    return bounds.get(unit)  # seconds: unknown in advance
