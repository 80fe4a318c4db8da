"""What a reward model is trained on: completions of the current policy, and a label at each place where it is read.

outcome   the verdict, at the last token
process   `rule`: the task's own checker, at the end of each step
          `continuations` (Math-Shepherd, 2312.08935 §3.3, soft estimation):
          c = (1/k) sum_j 1{continuation j of the solution up to the step reaches the right answer}
          In both, the last step is the final answer, whose label is the verdict.
          What the verifier could not decide has no label, and does not count in k.

Sampling them is charged to the run.  Shapes: N completions, T completion tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from algos import Rollouts
from evals.tasks import Problem, Task
from harness.config.rewards import RewardModelFields
from harness.rewards.base import SamplingContext, verify
from harness.rewards.step_alignment import scatter_step_rewards, step_end_tokens
from harness.rollout.collate import join
from harness.rollout.prompts import PromptStream

Kind = Literal["outcome", "process"]
STREAM = "reward model"
KEPT = (
    "tokens_NS",
    "attention_mask_NS",
    "completion_mask_NT",
    "logp_NT",
    "group_N",
)  # of the rollouts: what reading them takes


@dataclass(frozen=True)
class LabelledCompletions:
    """Completions and their labels.  `rollouts.group_N` tells the problems apart."""

    rollouts: Rollouts
    where_NT: Tensor  # bool: the places that have a label
    label_NT: Tensor  # 0 .. 1 there, 0 elsewhere

    def take(self, index: Tensor) -> LabelledCompletions:
        return LabelledCompletions(self.rollouts.take(index), self.where_NT[index], self.label_NT[index])

    def __len__(self) -> int:
        return len(self.where_NT)

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        whole = {name: getattr(self.rollouts, name) for name in KEPT}
        return {**whole, "where_NT": self.where_NT, "label_NT": self.label_NT}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LabelledCompletions:
        kept: dict[str, Any] = {name: tensors[name] for name in KEPT}
        return cls(Rollouts(**kept), tensors["where_NT"], tensors["label_NT"])


def concatenate(parts: Sequence[LabelledCompletions], pad: int) -> LabelledCompletions:
    """One below another; problems of different parts stay different groups."""
    shift, rollouts = 0, []
    for part in parts:
        rollouts.append(replace(part.rollouts, group_N=part.rollouts.group_N + shift))
        shift += int(part.rollouts.group_N.max()) + 1
    width = max(part.where_NT.shape[1] for part in parts)

    def widened(x_NT: Tensor) -> Tensor:
        return torch.nn.functional.pad(x_NT, (0, width - x_NT.shape[1]))

    return LabelledCompletions(
        join(rollouts, pad),
        torch.cat([widened(part.where_NT) for part in parts]),
        torch.cat([widened(part.label_NT) for part in parts]),
    )


def collect(
    context: SamplingContext, kind: Kind, fields: RewardModelFields, first: int, task: Task, tokenizer: Any
) -> LabelledCompletions:
    """Draw problems, sample, verify and label; `first` numbers the first prompt of this stream.  All of it is charged.

    Raises ValueError where the budget does not pay for it.
    """
    stream = PromptStream(context.problems, context.seed, STREAM)
    problems, ordinals = stream.take(first, fields.prompts), list(range(first, first + fields.prompts))
    rollouts, texts = context.sample(problems, fields.samples, STREAM, ordinals)
    check_affordable(context, rollouts, 0)
    owners = [p for p in problems for _ in range(fields.samples)]
    verdicts = verify(rollouts, owners, texts, task)
    at, labels = _step_labels(context, kind, fields, rollouts, owners, texts, first, task, tokenizer)
    finals = [float(v.strict == "correct") for v in verdicts]
    rewards = [[*steps, final] for steps, final in zip(labels, finals, strict=True)]
    where_NT, label_NT = scatter_step_rewards(rollouts, at, rewards)
    where_NT, label_NT = where_NT & ~label_NT.isnan(), label_NT.nan_to_num(0.0)
    known = torch.tensor([v.strict != "verifier_error" for v in verdicts]).nonzero()[:, 0]
    kept = {name: getattr(rollouts, name).cpu() for name in KEPT}
    return LabelledCompletions(Rollouts(**kept), where_NT.cpu(), label_NT.cpu()).take(known)


def _step_labels(
    context: SamplingContext,
    kind: Kind,
    fields: RewardModelFields,
    rollouts: Rollouts,
    owners: Sequence[Problem],
    texts: Sequence[str],
    first: int,
    task: Task,
    tokenizer: Any,
) -> tuple[list[list[int]], list[list[float]]]:
    """Where the steps before the final answer end, in tokens, and their labels."""
    nothing: list[list[Any]] = [[] for _ in texts]
    if kind == "outcome":
        return nothing, nothing
    pairs = list(zip(owners, texts, strict=True))
    if fields.labels == "rule":
        steps = [task.steps(p, text) or [] for p, text in pairs]
        at = step_end_tokens(tokenizer, rollouts, [[s.end for s in written] for written in steps])
        return at, [[float(s.right) for s in written] for written in steps]
    at = step_end_tokens(tokenizer, rollouts, [task.step_ends(p, text) or [] for p, text in pairs])
    return at, continuation_shares(context, rollouts, owners, at, fields.continuations, task, first)


def continuation_shares(
    context: SamplingContext,
    rollouts: Rollouts,
    owners: Sequence[Problem],
    at: Sequence[Sequence[int]],
    count: int,
    task: Task,
    first: int = 0,
) -> list[list[float]]:
    """For each step of each completion, the share of `count` continuations from its end that reach the right answer.

    A continuation has as many tokens as its completion had left; where none is left the share is 0, and where the
    verifier decided none of them it is NaN.  Its noise belongs to (first, the step's place in the list of all steps),
    not to how prefixes are batched.
    """
    shares: list[list[float]] = [[0.0] * len(stops) for stops in at]
    waiting: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # tokens written -> completion, step, ordinal
    for ordinal, (i, j) in enumerate((i, j) for i, stops in enumerate(at) for j in range(len(stops))):
        waiting[at[i][j] + 1].append((i, j, ordinal))
    check_affordable(context, rollouts, count * sum(map(len, at)))
    prompts, stream = _prompts(rollouts), f"{STREAM}/continuations/{first}"
    for written, steps in sorted(waiting.items()):
        if context.max_new_tokens - written < 1:
            continue
        tokens = rollouts.tokens_NS[:, -rollouts.completion_mask_NT.shape[1] :][:, :written].tolist()
        prefixes = [prompts[i] + tokens[i] for i, _, _ in steps]
        done, texts = context.extend(prefixes, written, count, stream, [ordinal for _, _, ordinal in steps])
        verdicts = verify(done, [owners[i] for i, _, _ in steps for _ in range(count)], texts, task)
        for k, (i, j, _) in enumerate(steps):
            decided = [v.strict for v in verdicts[k * count : (k + 1) * count] if v.strict != "verifier_error"]
            shares[i][j] = sum(s == "correct" for s in decided) / len(decided) if decided else math.nan
    return shares


def _prompts(rollouts: Rollouts) -> list[list[int]]:
    """Each row's prompt, without its padding."""
    cut = rollouts.tokens_NS.shape[1] - rollouts.completion_mask_NT.shape[1]
    rows = zip(rollouts.tokens_NS[:, :cut], rollouts.attention_mask_NS[:, :cut], strict=True)
    return [tokens[real].tolist() for tokens, real in rows]


def check_affordable(context: SamplingContext, rollouts: Rollouts, more: int) -> None:
    """Raises ValueError, one line, where `more` completions like these, on average, would exceed the budget."""
    budget, count = context.budget, len(rollouts.group_N)
    each = {"completions": 1.0, "generated_tokens": int(rollouts.completion_mask_NT.sum()) / count}.get(
        budget.unit, 0.0
    )
    used = budget.used(context.spend)
    if used + more * each >= budget.limit:
        raise ValueError(
            f"reward_model: its {count:,} completions and {more:,} continuations would take {used + more * each:,.0f} "
            f"of a budget of {budget.limit:,.0f} {budget.unit}; lower reward_model.prompts, samples or continuations"
        )
