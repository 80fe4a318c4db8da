"""The reward source that learns: `--reward outcome-model` and `--reward process-model`.

Before the first round it trains itself on completions of the initial policy, at the run's expense: the tokens, FLOPs
and seconds of sampling, labelling and training are charged (its own optimiser steps are not: `updates` are the
policy's). Arms with one seed that ask for the same model get the same one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from algos import Rollouts
from evals.statistics.classifier_quality import quality
from harness.accounting.flops import FlopsModel
from harness.accounting.profiler import MONITORING
from harness.config.rewards import RewardModelFields
from harness.processes.ledger import enter_seconds
from harness.rewards.base import JudgedCompletions, RewardSource, SamplingContext
from harness.rewards.reward_model import RewardModel
from harness.rewards.reward_model_training import fit, held_out_quality, split_held_out
from harness.rewards.step_alignment import scatter_step_rewards, step_end_tokens
from harness.rewards.step_labels import Kind, LabelledCompletions, collect, concatenate

PHASE = "reward_model"


@dataclass
class LearnedReward(RewardSource):
    """A reward model, the completions that it was trained on, and its quality after each training."""

    model: RewardModel
    kind: Kind
    fields: RewardModelFields
    task: Any
    tokenizer: Any
    turns: int = 0  # trainings so far
    history: list[LabelledCompletions] = field(default_factory=list)
    record: list[dict[str, Any]] = field(default_factory=list)

    def begin(self, context: SamplingContext) -> None:
        if self.fields.name is None:
            self.train(context)

    def refresh(self, context: SamplingContext) -> None:
        """Train on completions of the current policy and a share of the earlier ones (2402.03300 §4.1.4).

        Skipped, and recorded as skipped, where the rest of the budget does not pay for as much as the last training.
        """
        budget, spend = context.budget, context.spend
        last = self.record[-1].get("spend", {}).get(budget.unit, 0.0) if self.record else 0.0
        if budget.used(spend) + last >= budget.limit:
            self.record.append({"fraction": budget.fraction(spend), "skipped": f"no {budget.unit} left for it"})
        else:
            self.train(context)

    def train(self, context: SamplingContext) -> None:
        """Collect, train, measure, and record the cost.  Raises ValueError where there is nothing to learn from."""
        fields, spend, before = self.fields, context.spend, copy.copy(context.spend)
        with context.profiler(PHASE) as phase:
            data = collect(context, self.kind, fields, self.turns * fields.prompts, self.task, self.tokenizer)
            train, held_out = split_held_out(data, fields.held_out)
            if len(train) == 0:
                raise ValueError("reward_model: the verifier could decide none of the completions it would learn from")
            mixed = self.with_history(train, context)
            summary = fit(self.model, mixed, fields, context.seed, self.turns)
            lengths = mixed.rollouts.attention_mask_NS.sum(1).tolist()
            spend.flops += 3 * fields.epochs * FlopsModel.of_classifier(self.model.classifier).read(lengths)
            spend.trained_tokens += fields.epochs * int(mixed.rollouts.completion_mask_NT.sum())
            phase.tokens += spend.generated_tokens - before.generated_tokens
        enter_seconds(spend, context.profiler)
        with context.profiler(MONITORING):
            quality_by_place = held_out_quality(self.model, held_out)
        spent = {unit: value - getattr(before, unit) for unit, value in spend.as_dict().items()}
        summary |= {"fraction": context.budget.fraction(before), "history": len(mixed) - len(train)}
        self.record.append({**summary, "held_out": quality_by_place, "spend": spent})
        self.history.append(train)
        self.turns += 1

    def with_history(self, data: LabelledCompletions, context: SamplingContext) -> LabelledCompletions:
        """With earlier completions added, so that they are a share `replay` of the whole, or all that there are."""
        share = self.fields.replay
        count = round(len(data) * share / (1 - share))
        if not self.history or count == 0:
            return data
        old = concatenate(self.history, context.pad)
        generator = torch.Generator().manual_seed(context.seed * 1000 + self.turns)
        chosen = torch.randperm(len(old), generator=generator)[:count].sort().values
        return concatenate([data, old.take(chosen)], context.pad)

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        probability_NT = self.model(rollouts)
        last_N1 = rollouts.completion_mask_NT.sum(1, keepdim=True) - 1
        reward_N = probability_NT.gather(1, last_N1)[:, 0]
        rated = replace(rollouts, reward_N=reward_N)
        if self.kind == "process":
            ends = [self.task.step_ends(p, text) or [] for p, text, _ in answers.rows()]
            at = step_end_tokens(self.tokenizer, rollouts, ends)
            end_NT, _ = scatter_step_rewards(rollouts, at, [[0.0] * (len(stops) + 1) for stops in at])
            rated = replace(rated, step_end_NT=end_NT, step_reward_NT=torch.where(end_NT, probability_NT, 0))
        known = torch.tensor([v.strict != "verifier_error" for v in answers.verdicts])
        right = torch.tensor([v.strict == "correct" for v in answers.verdicts])
        measured = quality(reward_N.cpu()[known].numpy(), right[known].numpy())
        metrics = {} if measured is None else {k: measured.as_dict()[k] for k in ("accuracy", "auc", "brier")}
        return rated, {f"reward_model/{name}": float(value) for name, value in metrics.items() if value is not None}

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
        self.history = [LabelledCompletions.from_tensors(parts[place]) for place in sorted(parts)]
