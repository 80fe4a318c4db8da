"""A run whose completions are written, not sampled (Schedule.source = "dataset"): the loop with another first stage.

The completion of a drawn prompt is the task's solution of it, with the end token.  Nothing is generated, so neither
generated tokens nor the FLOPs of a rollout are charged; prompts, completions, updates and what is trained are.  The
task's judge reads the solutions like any completion (and is counted): a set that it does not accept shows in
`accuracy/strict`.  What stands in for the sampler's log-probabilities is the policy's own reading just before the
update, so that the check of the first update holds the trainer to something; it takes time, and is no part of a method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from algos import Rollouts
from evals.tasks import Problem, Task
from harness.accounting.budget import Spend
from harness.rollout.collate import assembled
from harness.rollout.sampler import Completions
from harness.rollout.tokenization import Encoder
from harness.training.trainer import Trainer


def written(task: Task, problems: Sequence[Problem], encoder: Encoder) -> tuple[list[Problem], list[str]]:
    """The problems with a solution of at most `max_new_tokens` tokens, and what to say of the others.

    They are left out, and counted: no completion is cut to fit.  Where none is left out the draws are every other
    arm's.  Raises ValueError where nothing is left.
    """
    solutions = [(problem, task.solution(problem)) for problem in problems]
    there = [(problem, text) for problem, text in solutions if text is not None]
    kept = [problem for problem, text in there if len(encoder.solution(text)) <= encoder.max_new_tokens]
    short = f"fits max_new_tokens={encoder.max_new_tokens}"
    if not kept:
        what = f"has {len(there)} written solutions, of which none {short}" if there else "has no written solutions"
        raise ValueError(f"task: '{task.name}' {what}: there is nothing for source=dataset to train on")
    said = [
        (len(problems) - len(there), "have no written solution"),
        (len(there) - len(kept), f"have a solution that no longer {short}"),
    ]
    return kept, [f"{n} of {len(problems)} training problems left out: they {why}" for n, why in said if n]


@dataclass
class Dataset(Trainer):
    """Rounds of `schedule.prompts` written solutions, one a prompt."""

    def sample(self, problems: list[Problem], ordinal: int) -> tuple[Rollouts, list[str]]:
        prompts = [self.encoder.ids(self.encoder.render(p.prompt), p.id) for p in problems]
        texts = [self.task.solution(p) or "" for p in problems]
        rows = [self.encoder.solution(text) for text in texts]
        width, device = max(map(len, rows)), self.policy.device
        tokens_NT = torch.tensor([row + [self.sampler.pad] * (width - len(row)) for row in rows], device=device)
        zeros_NT, length_N = torch.zeros(tokens_NT.shape, device=device), torch.tensor([*map(len, rows)], device=device)
        done = Completions(tokens_NT, zeros_NT, zeros_NT, length_N, torch.ones_like(length_N, dtype=torch.bool))
        rollouts = assembled(prompts, done, 1, self.sampler.pad)
        return replace(rollouts, logp_NT=self.policy.score(rollouts), entropy_NT=None), texts

    def charge(self, rollouts: Rollouts, groups: int, spend: Spend) -> None:
        spend.prompts += groups
        spend.completions += groups
        spend.flops += self.flops.annotate(rollouts.attend_NS.sum(1).tolist())
        spend.verifier_calls += groups
