"""What a reward model is taught: completions of the policy as it is, and a label at each place that it will be read.

outcome   the verdict, at the last token
steps     `rule`: the task's own checker, at the end of each step
          `continuations` (Math-Shepherd, 2312.08935 §3.3, soft estimation):
          c = (1/k) sum_j 1{continuation j of the solution up to the step reaches the right answer}
          In both the last step is the final answer, whose label is the verdict.
          What the verifier could not judge is no label, and leaves k.

Sampling them is the run's expense.  Shapes: N completions, T completion tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from algos import Rollouts
from evals.tasks import Problem
from harness.rewards.base import judged
from harness.rewards.step_alignment import lay, places
from harness.rollout.collate import complete, join, sample
from harness.rollout.prompts import Draws

if TYPE_CHECKING:
    from harness.config.rewards import RewardModelFields
    from harness.training.trainer import Trainer

Kind = Literal["outcome", "process"]
STREAM = "reward model"
KEPT = ("tokens_NS", "attend_NS", "mask_NT", "logp_NT", "group_N")  # of the rollouts: what reading them takes


@dataclass(frozen=True)
class Labelled:
    """Completions and what is right of them.  `rollouts.group_N` tells the problems apart."""

    rollouts: Rollouts
    where_NT: Tensor  # bool: the places that have a label
    label_NT: Tensor  # 0 .. 1 there, 0 elsewhere

    def take(self, index: Tensor) -> Labelled:
        return Labelled(self.rollouts.take(index), self.where_NT[index], self.label_NT[index])

    def __len__(self) -> int:
        return len(self.where_NT)

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        whole = {name: getattr(self.rollouts, name) for name in KEPT}
        return {**whole, "where_NT": self.where_NT, "label_NT": self.label_NT}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Labelled:
        return cls(Rollouts(**{name: tensors[name] for name in KEPT}), tensors["where_NT"], tensors["label_NT"])


def together(parts: Sequence[Labelled], pad: int) -> Labelled:
    """One under another; problems of different parts are told apart."""
    shift, rounds = 0, []
    for part in parts:
        rounds.append(replace(part.rollouts, group_N=part.rollouts.group_N + shift))
        shift += int(part.rollouts.group_N.max()) + 1
    width = max(part.where_NT.shape[1] for part in parts)

    def wide(x_NT: Tensor) -> Tensor:
        return torch.nn.functional.pad(x_NT, (0, width - x_NT.shape[1]))

    return Labelled(
        join(rounds, pad),
        torch.cat([wide(part.where_NT) for part in parts]),
        torch.cat([wide(part.label_NT) for part in parts]),
    )


def collect(loop: Trainer, kind: Kind, fields: RewardModelFields, first: int) -> Labelled:
    """Draw problems, sample, judge and label; `first` numbers the first draw of this walk.  All of it is charged.

    Raises ValueError where the budget does not pay for it.
    """
    draws = Draws(loop.draws.problems, loop.draws.seed, STREAM)
    problems, ordinals = draws.take(first, fields.prompts), list(range(first, first + fields.prompts))
    sampling = replace(loop.sampling, stream=STREAM)
    rollouts, texts = sample(loop.sampler, loop.encoder, problems, fields.samples, sampling, ordinals)
    charge(loop, rollouts, fields.prompts, fields.samples)
    afforded(loop, rollouts, 0)
    owners = [p for p in problems for _ in range(fields.samples)]
    verdicts = judged(rollouts, owners, texts, loop.task)
    at, labels = _steps(loop, kind, fields, rollouts, owners, texts, first)
    finals = [float(v.strict == "correct") for v in verdicts]
    where_NT, label_NT = lay(rollouts, at, [[*found, final] for found, final in zip(labels, finals, strict=True)])
    where_NT, label_NT = where_NT & ~label_NT.isnan(), label_NT.nan_to_num(0.0)
    known = torch.tensor([v.strict != "verifier_error" for v in verdicts]).nonzero()[:, 0]
    kept = {name: getattr(rollouts, name).cpu() for name in KEPT}
    return Labelled(Rollouts(**kept), where_NT.cpu(), label_NT.cpu()).take(known)


def _steps(
    loop: Trainer,
    kind: Kind,
    fields: RewardModelFields,
    rollouts: Rollouts,
    owners: Sequence[Problem],
    texts: Sequence[str],
    first: int,
) -> tuple[list[list[int]], list[list[float]]]:
    """Where the steps before the final answer end, in tokens, and their labels."""
    nothing: list[list[Any]] = [[] for _ in texts]
    if kind == "outcome":
        return nothing, nothing
    pairs = list(zip(owners, texts, strict=True))
    if fields.labels == "rule":
        steps = [loop.task.steps(p, text) or [] for p, text in pairs]
        at = places(loop.encoder.tokenizer, rollouts, [[s.end for s in found] for found in steps])
        return at, [[float(s.right) for s in found] for found in steps]
    at = places(loop.encoder.tokenizer, rollouts, [loop.task.step_ends(p, text) or [] for p, text in pairs])
    return at, continued(loop, rollouts, owners, at, fields.continuations, first)


def continued(
    loop: Trainer,
    rollouts: Rollouts,
    owners: Sequence[Problem],
    at: Sequence[Sequence[int]],
    count: int,
    first: int = 0,
) -> list[list[float]]:
    """For each step of each completion, the share of `count` continuations from its end that reach the right answer.

    A continuation has the tokens that its completion had left; where none is left the share is 0, and where none could
    be judged NaN.  Its noise belongs to (first, the step's place in the list of all steps), not to how prefixes are
    batched.
    """
    shares: list[list[float]] = [[0.0] * len(stops) for stops in at]
    wanted: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # tokens written -> completion, step, ordinal
    for ordinal, (i, j) in enumerate((i, j) for i, stops in enumerate(at) for j in range(len(stops))):
        wanted[at[i][j] + 1].append((i, j, ordinal))
    afforded(loop, rollouts, count * sum(map(len, at)))
    prompts = _prompts(rollouts)
    for written, steps in sorted(wanted.items()):
        left = loop.sampling.max_new_tokens - written
        if left < 1:
            continue
        tokens = rollouts.tokens_NS[:, -rollouts.mask_NT.shape[1] :][:, :written].tolist()
        prefixes = [prompts[i] + tokens[i] for i, _, _ in steps]
        sampling = replace(loop.sampling, max_new_tokens=left, stream=f"{STREAM}/continuations/{first}")
        done, _ = complete(loop.sampler, prefixes, count, sampling, [ordinal for _, _, ordinal in steps])
        charge(loop, done, 0, count)
        whose = [owners[i] for i, _, _ in steps for _ in range(count)]
        verdicts = judged(done, whose, _texts(loop, done, written), loop.task)
        for k, (i, j, _) in enumerate(steps):
            said = [v.strict for v in verdicts[k * count : (k + 1) * count] if v.strict != "verifier_error"]
            shares[i][j] = sum(s == "correct" for s in said) / len(said) if said else math.nan
    return shares


def _prompts(rollouts: Rollouts) -> list[list[int]]:
    """Each row's prompt, without its padding."""
    cut = rollouts.tokens_NS.shape[1] - rollouts.mask_NT.shape[1]
    rows = zip(rollouts.tokens_NS[:, :cut], rollouts.attend_NS[:, :cut], strict=True)
    return [tokens[there].tolist() for tokens, there in rows]


def _texts(loop: Trainer, done: Rollouts, written: int) -> list[str]:
    """Whole completions: the `written` tokens that stood before, which end the prompts, and the continuation."""
    width = done.mask_NT.shape[1] + written
    rows = zip(done.tokens_NS[:, -width:], done.attend_NS[:, -width:], strict=True)
    ids = [tokens[there].tolist() for tokens, there in rows]
    texts: list[str] = loop.encoder.tokenizer.batch_decode(ids, skip_special_tokens=True)
    for stop in loop.sampling.stop:
        texts = [text.split(stop)[0] for text in texts]
    return texts


def afforded(loop: Trainer, rollouts: Rollouts, more: int) -> None:
    """Raises ValueError, one line, where `more` completions like these, on average, would take more than is left."""
    budget, count = loop.budget, len(rollouts.group_N)
    each = {"completions": 1.0, "generated_tokens": int(rollouts.mask_NT.sum()) / count}.get(budget.unit, 0.0)
    used = budget.used(loop.spend)
    if used + more * each >= budget.limit:
        raise ValueError(
            f"reward_model: its {count:,} completions and {more:,} continuations would take {used + more * each:,.0f} "
            f"of a budget of {budget.limit:,.0f} {budget.unit}; lower reward_model.prompts, samples or continuations"
        )


def charge(loop: Trainer, rollouts: Rollouts, prompts: int, size: int) -> None:
    """Enter what was sampled for a reward model in the run's ledger; no other model reads it."""
    lengths = rollouts.mask_NT.sum(1).tolist()
    before = (rollouts.attend_NS.sum(1) - rollouts.mask_NT.sum(1)).tolist()[::size]
    loop.spend.prompts += prompts
    loop.aside += prompts
    loop.spend.completions += len(lengths)
    loop.spend.generated_tokens += sum(lengths)
    loop.spend.verifier_calls += len(lengths)
    groups = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    loop.spend.flops += loop.flops.policy.rollout(before, groups)
