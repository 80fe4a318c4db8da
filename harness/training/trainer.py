"""The loop: prompts -> completions -> rewards -> credit -> loss -> update -> record.

It is blind to what it trains: no algorithm and no task is named here.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from algos import Algorithm, Batch, Metrics, Requirement, Rollouts, Schedule
from evals.tasks import Problem, Task
from harness.accounting.budget import Budget, Spend
from harness.accounting.flops import RunFlops
from harness.accounting.profiler import MONITORING, PhaseProfiler
from harness.accounting.round_sizing import RoundSizer
from harness.config.coercion import build
from harness.models.policy import LMPolicy, sampler_outputs
from harness.processes.group import current
from harness.processes.ledger import enter_seconds
from harness.rewards.base import RewardedRollouts, RewardSource, score
from harness.rollout.collate import join
from harness.rollout.prompts import PromptStream
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.tokenization import PromptTokenizer
from harness.training.batching import updates
from harness.training.completions import CompletionSource, RewardSampling
from harness.training.distributed.update import together
from harness.training.iterations import Iterations
from harness.training.loop.prompt_knowledge import PromptKnowledge
from harness.training.loop.redrawing import redrawn
from harness.training.metrics import Round, check_own


@dataclass
class Trainer:
    """Everything that a run is made of.  Its state, which a checkpoint keeps, is `state()` and the policy's."""

    algo: Algorithm
    schedule: Schedule
    policy: LMPolicy
    sampler: Sampler
    tokenizer: PromptTokenizer
    task: Task
    completions: CompletionSource
    reward_source: RewardSource
    reward_sampling: RewardSampling
    prompt_stream: PromptStream
    sampling: Sampling
    budget: Budget
    round_sizer: RoundSizer
    flops: RunFlops
    profiler: PhaseProfiler
    micro_batch_tokens: int
    spend: Spend
    checks: dict[str, float]
    iterations: Iterations = field(default_factory=Iterations)
    logged_requirements: frozenset[Requirement] = frozenset()  # what is annotated for metrics.jsonl alone
    rounds: int = 0
    activation_bytes: int = 0  # the most that an update needed beyond what lives for the whole run

    def train_round(self) -> Round | None:
        finished = self.schedule.rounds is not None and self.rounds >= self.schedule.rounds
        groups = 0 if finished else self.next_round_size()
        if groups == 0:
            return None
        started, before, ordinal = time.perf_counter(), self.round_sizer.budget.used(self.spend), self.ordinal
        self.policy.progress = self.budget.fraction(self.spend)
        self.policy.value_only = self.rounds < self.schedule.critic_warmup
        collected = self.collect_rollouts(groups)
        if self.schedule.draws > 1:
            left, pad = lambda: self.round_sizer.groups(self.spend), self.sampler.pad
            collected = redrawn(collected, self.algo, groups, self.schedule.draws, left, self.collect_rollouts, pad)
        credit = self.algo.credit(collected.rollouts)
        optimizer_bytes = self.policy.memory_parts()["optimizer"]
        with self.profiler("update") as phase:
            limit, seed = self.sampling.max_new_tokens, self.prompt_stream.seed
            parts = updates(collected.rollouts, credit, self.schedule, limit, self.micro_batch_tokens, seed, ordinal)
            trained, metrics = self.update(parts, on_policy=True)
            phase.tokens += trained
        self.measure_activations(phase.rise_bytes, optimizer_bytes)
        self.spend.flops += self.algo.flops(collected.rollouts)
        self.algo = self.algo.adapt(collected.rollouts)
        done = Round(self.rounds + 1, collected, credit, metrics, self.spend, started)
        return self.finish_round(ordinal, before, done)

    def next_round_size(self) -> int:
        """Groups of the next round; 0 where the budget is spent.  What an iteration renews is paid for first."""
        groups = self.round_sizer.groups(self.spend)
        if groups:
            self._begin_due_iteration()
            groups = self.round_sizer.groups(self.spend)
        return groups

    def _begin_due_iteration(self) -> None:
        """Once, if a round has crossed several boundaries: nothing has moved between them."""
        iterations, due = self.iterations, self.iterations.due(self.budget.fraction(self.spend))
        if iterations.begun == 0:
            self.reward_source.begin(self.reward_sampling)
            iterations.begun = 1
        if iterations.begun < due:
            if iterations.reset_reference:
                self.policy.reset_reference()
            if iterations.refresh_reward:
                self.reward_source.refresh(self.reward_sampling)
            iterations.begun = due

    @property
    def ordinal(self) -> int:
        """Of the next prompt in the run's order of problems; prompts of a reward model are not in it."""
        return self.spend.prompts - self.reward_sampling.prompts

    def collect_rollouts(self, groups: int) -> RewardedRollouts:
        """Draw prompts, sample, verify, reward and annotate; all of it is charged.

        So many groups and, before anything is trained on, what the round sizer adds to the last round.
        """
        ordinal = self.ordinal
        with self.profiler("rollout") as phase:
            problems, rollouts, texts = self.sample_prompts(ordinal, groups)
            phase.tokens += int(rollouts.completion_mask_NT.sum())
        with self.profiler("reward"):
            owners = [p for p in problems for _ in range(self.schedule.group_size)]
            rollouts, judged = score(rollouts, owners, texts, self.task, self.reward_source, ordinal)
        with self.profiler("annotate") as phase:
            known = {"values"} if rollouts.value_NT is not None else set()  # a shared backbone's, read while sampling
            missing = self.algo.needs - known
            rollouts = self.policy.annotate(rollouts, missing)
            phase.tokens += int(rollouts.attention_mask_NS.sum()) * len(missing & {"reference", "values"})
        if extra := self.logged_requirements - self.algo.needs:
            with self.profiler(MONITORING):
                rollouts = self.policy.annotate(rollouts, extra)
        self.completions.charge(rollouts, len(problems), self.spend)
        return RewardedRollouts(rollouts, owners, texts, judged)

    def sample_prompts(self, ordinal: int, groups: int) -> tuple[list[Problem], Rollouts, list[str]]:
        """The next prompts and their completions under the current policy: in pieces where the round sizer adds
        some."""
        problems = self.prompt_stream.take(ordinal, groups)
        rollouts, texts = self._complete(problems, ordinal)
        while more := self.round_sizer.more(self.spend, len(problems), self.projected_cost(rollouts, len(problems))):
            next_ordinal = ordinal + len(problems)
            added = self.prompt_stream.take(next_ordinal, more)
            piece, piece_texts = self._complete(added, next_ordinal)
            piece = dataclasses.replace(piece, group_N=piece.group_N + len(problems))
            rollouts = join([rollouts, piece], self.sampler.pad)
            problems, texts = [*problems, *added], [*texts, *piece_texts]
        return problems, rollouts, texts

    def _complete(self, problems: list[Problem], ordinal: int) -> tuple[Rollouts, list[str]]:
        rollouts, texts = self.completions.complete(problems, ordinal)
        known = PromptKnowledge(self.task, self.reward_source, self.reward_sampling, self.policy, self.flops)
        return known.add(self.algo, rollouts, problems, ordinal, self.rounds + 1), texts

    def projected_cost(self, rollouts: Rollouts, groups: int) -> float:
        """What a round of these will have cost, its updates included, in the round sizer's unit (but seconds)."""
        spend, used = copy.copy(self.spend), self.round_sizer.budget.used
        self.completions.charge(rollouts, groups, spend)
        if self.schedule.source != "initial":  # else they are trained on later, from another share of the budget
            spend.trained_tokens += self.schedule.epochs * int(rollouts.completion_mask_NT.sum())
            lengths = rollouts.attention_mask_NS.sum(1).tolist()
            spend.flops += self.schedule.epochs * self.flops.update(lengths, self.policy.value_only)
        return used(spend) - used(self.spend)

    def update(self, parts: Iterable[list[Batch]], on_policy: bool) -> tuple[int, dict[str, float]]:
        """Take the optimiser steps and charge them.  Returns the completion tokens trained, and the metrics averaged
        over the updates.  `on_policy`: the first update's batch was sampled from the policy as it is."""
        trained, taken, first = 0, 0, {}
        sums: defaultdict[str, float] = defaultdict(float)
        for micro_batches in parts:
            largest_gap: float | None = None  # None: nothing that was sampled has been read again
            mine = sums if current().size == 1 else defaultdict(float)
            self.policy.keep_step(micro_batches)
            for batch in micro_batches:
                if not len(batch.rollouts.group_N):  # another process has all the rows
                    continue
                gradient_free = batch.zero_gradient
                for outputs in (
                    [sampler_outputs(batch)] if gradient_free else self.policy.forward_passes(batch, self.algo.needs)
                ):
                    loss, metrics = self.algo.loss(batch, outputs)
                    check_own(metrics)
                    if not gradient_free:
                        self.policy.backward(loss)
                if not gradient_free and batch.totals.sequences:
                    gap_NT = (outputs.logp_NT.detach() - batch.rollouts.logp_NT).abs()
                    gap = float(torch.where(batch.rollouts.completion_mask_NT, gap_NT, 0).max())
                    largest_gap = max(largest_gap or 0.0, gap)
                _add(mine, {"loss": loss.detach(), **metrics})
            totals, taken = micro_batches[0].totals, taken + 1
            lengths = [
                n for b in micro_batches for n in b.rollouts.attention_mask_NS.sum(1).tolist() if totals.sequences
            ]
            flops = self.flops.update(lengths, self.policy.value_only)
            if mine is not sums:
                others, largest_gap, flops = together(mine, largest_gap, flops)
                _add(sums, others)
            _add(sums, self.policy.step())
            if on_policy and taken == 1 and largest_gap is not None:
                first = {"sampling/max_abs_logratio": largest_gap}
                self.checks.setdefault("first_update_max_abs_logratio", largest_gap)
            self.spend.updates += 1
            self.spend.trained_tokens += totals.tokens
            self.spend.flops += flops
            trained += totals.tokens
        return trained, {**{k: v / taken for k, v in sums.items()}, **first}

    def finish_round(self, ordinal: int, before: float, done: Round) -> Round:
        """What every round ends with: the clock, the round sizer, the count.  `ordinal`, `before`: as it began."""
        enter_seconds(self.spend, self.profiler)
        self.round_sizer.observe(self.ordinal - ordinal, self.round_sizer.budget.used(self.spend) - before)
        self.rounds += 1
        return done

    def measure_activations(self, rise: int, optimizer_bytes: int) -> None:
        """What an update's memory rose by, less its gradients and the growth of the optimiser's state."""
        parts = self.policy.memory_parts()
        own = rise - parts["gradients"] - (parts["optimizer"] - optimizer_bytes)
        self.activation_bytes = max(self.activation_bytes, own)

    # What a learning curve, a record and a checkpoint read.

    @property
    def progress(self) -> float:
        return self.budget.fraction(self.spend)

    @contextmanager
    def at(self, fraction: float) -> Iterator[Spend]:
        yield self.spend

    def split(self) -> dict[str, Any]:
        return {}

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        numbers, tensors = self.reward_source.state()
        return {
            "algo": dataclasses.asdict(self.algo),
            "algo_state": dict(self.algo.state()),
            "rounds": self.rounds,
            "spend": self.spend.as_dict(),
            "phases": self.profiler.as_dict(),
            "checks": self.checks,
            "costs": self.round_sizer.costs,
            "activation_bytes": self.activation_bytes,
            "peak_cache_bytes": self.sampler.peak_cache_bytes,
            "iterations": self.iterations.begun,
            "reward_model_prompts": self.reward_sampling.prompts,
            "reward_source": numbers,
        }, {f"reward_source.{name}": x for name, x in tensors.items()}

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        algo = build(type(self.algo), state["algo"], "algo.")
        self.algo, self.rounds = algo.with_state(state.get("algo_state", {})), state["rounds"]
        for f in dataclasses.fields(self.spend):
            setattr(self.spend, f.name, state["spend"].get(f.name, 0))
        self.profiler.load(state["phases"])
        self.checks.update(state["checks"])
        self.round_sizer.costs[:] = [(int(groups), float(cost)) for groups, cost in state["costs"]]
        self.activation_bytes, self.sampler.peak_cache_bytes = state["activation_bytes"], state["peak_cache_bytes"]
        self.iterations.begun, self.reward_sampling.prompts = state["iterations"], state["reward_model_prompts"]
        prefix = "reward_source."
        mine = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
        self.reward_source.load(state["reward_source"], mine)

    def modules(self) -> dict[str, Any]:
        """Every model that a checkpoint keeps, by the name of its part of memory."""
        return {**self.policy.modules(), **self.reward_source.modules()}


def _add(sums: defaultdict[str, float], metrics: Metrics | dict[str, float]) -> None:
    for name, value in metrics.items():
        try:
            sums[name] += float(value)
        except (TypeError, ValueError, RuntimeError) as error:  # of a tensor with several elements: RuntimeError
            raise ValueError(f"algo: its metric {name!r} must be one number, not {value!r:.60}") from error
