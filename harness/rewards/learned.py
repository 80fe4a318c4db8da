"""The source of rewards that learns: `--reward outcome-model` and `--reward process-model`.

Before the first round it trains itself on completions of the start model, at the run's expense: the tokens, FLOPs and
seconds of sampling, labelling and training are entered in the ledger (its own optimiser steps are not: `updates` are
the policy's).  Arms of one seed that ask for the same model get the same one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from algos import Rollouts
from evals.statistics.classifier_quality import quality
from harness.accounting.profiler import MEASURED
from harness.config.rewards import RewardModelFields
from harness.rewards.base import Answers, Source
from harness.rewards.reward_model import RewardModel
from harness.rewards.reward_model_training import fit, measured, parted
from harness.rewards.step_alignment import lay, places
from harness.rewards.step_labels import Kind, Labelled, collect, together
from harness.training.trainer import Trainer

PHASE = "reward_model"


@dataclass
class Learned(Source):
    """A reward model, what it was trained on, and how good it was each time."""

    model: RewardModel
    kind: Kind
    fields: RewardModelFields
    task: Any
    tokenizer: Any
    turns: int = 0  # trainings so far
    history: list[Labelled] = field(default_factory=list)
    record: list[dict[str, Any]] = field(default_factory=list)

    def begin(self, loop: Trainer) -> None:
        if self.fields.name is None:
            self.train(loop)

    def refresh(self, loop: Trainer) -> None:
        """Train on: completions of the policy as it is, and a share of what there was before (2402.03300 §4.1.4).

        Left out, and written down as such, where what is left does not pay for as much as the last time.
        """
        unit = loop.budget.unit
        last = self.record[-1].get("spend", {}).get(unit, 0.0) if self.record else 0.0
        if loop.budget.used(loop.spend) + last >= loop.budget.limit:
            self.record.append({"fraction": loop.budget.fraction(loop.spend), "skipped": f"no {unit} left for it"})
        else:
            self.train(loop)

    def train(self, loop: Trainer) -> None:
        """Collect, train, measure, and write down what it cost.  Raises ValueError where there is nothing to learn."""
        fields, before = self.fields, copy.copy(loop.spend)
        with loop.meter(PHASE) as phase:
            data = collect(loop, self.kind, fields, self.turns * fields.prompts)
            train, held = parted(data, fields.held_out)
            if len(train) == 0:
                raise ValueError("reward_model: the verifier could judge none of the completions it would learn from")
            mixed = self.with_history(train, loop)
            said = fit(self.model, mixed, fields, loop.draws.seed, self.turns)
            lengths = mixed.rollouts.attend_NS.sum(1).tolist()
            assert loop.flops.reward_model is not None
            loop.spend.flops += 3 * fields.epochs * loop.flops.reward_model.read(lengths)
            loop.spend.trained_tokens += fields.epochs * int(mixed.rollouts.mask_NT.sum())
            phase.tokens += loop.spend.generated_tokens - before.generated_tokens
        loop.spend.device_seconds = loop.meter.charged_seconds
        with loop.meter(MEASURED):
            found = measured(self.model, held)
        spent = {unit: value - getattr(before, unit) for unit, value in loop.spend.as_dict().items()}
        said |= {"fraction": loop.budget.fraction(before), "history": len(mixed) - len(train)}
        self.record.append({**said, "held_out": found, "spend": spent})
        self.history.append(train)
        self.turns += 1

    def with_history(self, data: Labelled, loop: Trainer) -> Labelled:
        """With so many earlier completions that they are `replay` of the whole; all there are, where they are fewer."""
        share = self.fields.replay
        count = round(len(data) * share / (1 - share))
        if not self.history or count == 0:
            return data
        old = together(self.history, loop.sampler.pad)
        generator = torch.Generator().manual_seed(loop.draws.seed * 1000 + self.turns)
        chosen = torch.randperm(len(old), generator=generator)[:count].sort().values
        return together([data, old.take(chosen)], loop.sampler.pad)

    def rate(self, rollouts: Rollouts, answers: Answers) -> tuple[Rollouts, dict[str, float]]:
        probability_NT = self.model(rollouts)
        last_N1 = rollouts.mask_NT.sum(1, keepdim=True) - 1
        reward_N = probability_NT.gather(1, last_N1)[:, 0]
        rated = replace(rollouts, reward_N=reward_N)
        if self.kind == "process":
            ends = [self.task.step_ends(p, text) or [] for p, text, _ in answers.rows()]
            at = places(self.tokenizer, rollouts, ends)
            end_NT, _ = lay(rollouts, at, [[0.0] * (len(stops) + 1) for stops in at])
            rated = replace(rated, step_end_NT=end_NT, step_reward_NT=torch.where(end_NT, probability_NT, 0))
        known = torch.tensor([v.strict != "verifier_error" for v in answers.verdicts])
        right = torch.tensor([v.strict == "correct" for v in answers.verdicts])
        found = quality(reward_N.cpu()[known].numpy(), right[known].numpy())
        said = {} if found is None else {k: found.as_dict()[k] for k in ("accuracy", "auc", "brier")}
        return rated, {f"reward_model/{name}": float(value) for name, value in said.items() if value is not None}

    def modules(self) -> dict[str, Any]:
        return {PHASE: self.model.classifier}

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        tensors = {f"{i}.{k}": x for i, data in enumerate(self.history) for k, x in data.tensors().items()}
        return {"turns": self.turns, "record": self.record}, tensors

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.turns, self.record[:] = state["turns"], state["record"]
        parts: dict[int, dict[str, Tensor]] = {}
        for name, x in tensors.items():
            place, _, kind = name.partition(".")
            parts.setdefault(int(place), {})[kind] = x.cpu()
        self.history = [Labelled.of(parts[place]) for place in sorted(parts)]
