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

from algos import Algorithm, Batch, Metrics, Need, Rollouts, Schedule
from evals.tasks import Problem, Task
from harness.accounting.budget import Budget, Spend
from harness.accounting.flops import RunFlops
from harness.accounting.profiler import MEASURED, Meter
from harness.accounting.round_sizing import Planner
from harness.config.coercion import build
from harness.models.policy import LMPolicy, noted
from harness.rewards.base import Explored, Source, score
from harness.rollout.collate import join, sample
from harness.rollout.prompts import Draws
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.tokenization import Encoder
from harness.training.batching import updates
from harness.training.iterations import Iterations
from harness.training.metrics import Round


@dataclass
class Trainer:
    """Everything a run is made of.  Its state, which a checkpoint keeps, is `state()` and the policy's."""

    algo: Algorithm
    schedule: Schedule
    policy: LMPolicy
    sampler: Sampler
    encoder: Encoder
    task: Task
    source: Source
    draws: Draws
    sampling: Sampling
    budget: Budget
    planner: Planner
    flops: RunFlops
    meter: Meter
    micro_tokens: int
    spend: Spend
    checks: dict[str, float]
    iterations: Iterations = field(default_factory=Iterations)
    measures: frozenset[Need] = frozenset()  # what is annotated for the eye alone
    rounds: int = 0
    aside: int = 0  # prompts that were drawn for a reward model: they do not count in the walk over the problems
    activation_bytes: int = 0  # the most that an update needed beyond what lives for the whole run

    def round(self) -> Round | None:
        """One round of the loop; None where the budget is spent."""
        over = self.schedule.rounds is not None and self.rounds >= self.schedule.rounds
        groups = 0 if over else self.affords()
        if groups == 0:
            return None
        started, before, ordinal = time.perf_counter(), self.planner.budget.used(self.spend), self.ordinal
        self.policy.progress = self.budget.fraction(self.spend)
        self.policy.frozen = self.rounds < self.schedule.critic_warmup
        explored = self.explore(groups)
        credit = self.algo.credit(explored.rollouts)
        held = self.policy.memory_parts()["optimizer"]
        with self.meter("update") as phase:
            horizon, seed = self.sampling.max_new_tokens, self.draws.seed
            parts = updates(explored.rollouts, credit, self.schedule, horizon, self.micro_tokens, seed, ordinal)
            trained, metrics = self.update(parts, on_policy=True)
            phase.tokens += trained
        self.measure_activations(phase.rise_bytes, held)
        self.algo = self.algo.adapt(explored.rollouts)
        return self.closing(ordinal, before, Round(self.rounds + 1, explored, credit, metrics, self.spend, started))

    def affords(self) -> int:
        """Groups of the next round; 0 where the budget is spent.  What an iteration renews is paid for first."""
        groups = self.planner.groups(self.spend)
        if groups:
            self.iterations.turn(self)
            groups = self.planner.groups(self.spend)
        return groups

    @property
    def ordinal(self) -> int:
        """Of the next prompt in the run's walk over the problems."""
        return self.spend.prompts - self.aside

    def explore(self, groups: int) -> Explored:
        """Draw prompts, sample, judge and annotate; all of it is entered in the ledger.

        These groups and, before anything is trained on, what the planner adds to a round that is the last.
        """
        ordinal = self.ordinal
        with self.meter("rollout") as phase:
            problems, rollouts, texts = self.draw(ordinal, groups)
            phase.tokens += int(rollouts.mask_NT.sum())
        with self.meter("reward"):
            owners = [p for p in problems for _ in range(self.schedule.group_size)]
            rollouts, judged = score(rollouts, owners, texts, self.task, self.source, ordinal)
        with self.meter("annotate") as phase:
            known = {"values"} if rollouts.value_NT is not None else set()  # a shared trunk's, from the sampling itself
            unknown = self.algo.needs - known
            rollouts = self.policy.annotate(rollouts, unknown)
            phase.tokens += int(rollouts.attend_NS.sum()) * len(unknown & {"reference", "values"})
        if extra := self.measures - self.algo.needs:
            with self.meter(MEASURED):
                rollouts = self.policy.annotate(rollouts, extra)
        self.charge(rollouts, len(problems), self.spend)
        return Explored(rollouts, owners, texts, judged)

    def draw(self, ordinal: int, groups: int) -> tuple[list[Problem], Rollouts, list[str]]:
        """The next prompts and their completions, by the policy as it is: in pieces where the planner adds some."""
        problems = self.draws.take(ordinal, groups)
        rollouts, texts = self.sample(problems, ordinal)
        while more := self.planner.more(self.spend, len(problems), self.foreseen(rollouts, len(problems))):
            next_ordinal = ordinal + len(problems)
            added = self.draws.take(next_ordinal, more)
            piece, said = self.sample(added, next_ordinal)
            piece = dataclasses.replace(piece, group_N=piece.group_N + len(problems))
            rollouts = join([rollouts, piece], self.sampler.pad)
            problems, texts = [*problems, *added], [*texts, *said]
        return problems, rollouts, texts

    def foreseen(self, rollouts: Rollouts, groups: int) -> float:
        """What a round of these will have cost, its updates included, in the planner's unit (but seconds)."""
        spend, used = copy.copy(self.spend), self.planner.budget.used
        self.charge(rollouts, groups, spend)
        if self.schedule.source != "start":  # else they are trained on later, out of another purse
            spend.trained_tokens += self.schedule.epochs * int(rollouts.mask_NT.sum())
            lengths = rollouts.attend_NS.sum(1).tolist()
            spend.flops += self.schedule.epochs * self.flops.update(lengths, self.policy.frozen)
        return used(spend) - used(self.spend)

    def sample(self, problems: list[Problem], ordinal: int) -> tuple[Rollouts, list[str]]:
        """Sample G completions of each problem; `ordinal` numbers the first draw."""
        ordinals = list(range(ordinal, ordinal + len(problems)))
        return sample(self.sampler, self.encoder, problems, self.schedule.group_size, self.sampling, ordinals)

    def update(self, parts: Iterable[list[Batch]], on_policy: bool) -> tuple[int, dict[str, float]]:
        """Take the updates and enter them in the ledger.  Returns the completion tokens trained and the metrics,
        averaged over the updates.  `on_policy`: the first one's batch was sampled from the policy as it is."""
        trained, taken, first = 0, 0, {}
        sums: defaultdict[str, float] = defaultdict(float)
        for micro in parts:
            apart = 0.0
            for batch in micro:
                for fresh in [noted(batch)] if batch.inert else self.policy.passes(batch, self.algo.needs):
                    loss, metrics = self.algo.loss(batch, fresh)
                    if not batch.inert:  # its loss has no gradient
                        self.policy.backward(loss)
                gap_NT = (fresh.logp_NT.detach() - batch.rollouts.logp_NT).abs()
                apart = max(apart, float(torch.where(batch.rollouts.mask_NT, gap_NT, 0).max()))
                _add(sums, {"loss": loss.detach(), **metrics})
            _add(sums, self.policy.step())
            if on_policy and taken == 0:
                first = {"sampling/max_abs_logratio": apart}
                self.checks.setdefault("first_update_max_abs_logratio", apart)
            totals, taken = micro[0].totals, taken + 1
            lengths = [n for batch in micro for n in batch.rollouts.attend_NS.sum(1).tolist() if totals.sequences]
            self.spend.updates += 1
            self.spend.trained_tokens += totals.tokens
            self.spend.flops += self.flops.update(lengths, self.policy.frozen)
            trained += totals.tokens
        return trained, {**{k: v / taken for k, v in sums.items()}, **first}

    def charge(self, rollouts: Rollouts, groups: int, spend: Spend) -> None:
        """Enter an exploration in a ledger; updates enter themselves."""
        size, lengths = self.schedule.group_size, rollouts.mask_NT.sum(1).tolist()
        completions = [lengths[i : i + size] for i in range(0, len(lengths), size)]
        prompts = (rollouts.attend_NS.sum(1) - rollouts.mask_NT.sum(1)).tolist()[::size]
        spend.prompts += groups
        spend.completions += len(lengths)
        spend.generated_tokens += sum(lengths)
        spend.flops += self.flops.explore(prompts, completions)
        spend.verifier_calls += len(lengths)

    def closing(self, ordinal: int, before: float, done: Round) -> Round:
        """What every round ends with: the clock, the planner, the count.  `ordinal`, `before`: when it began."""
        self.spend.device_seconds = self.meter.charged_seconds
        self.planner.observe(self.ordinal - ordinal, self.planner.budget.used(self.spend) - before)
        self.rounds += 1
        return done

    def measure_activations(self, rise: int, held: int) -> None:
        """What an update rose by, less its gradients and what the optimiser's state, `held` before, has grown by."""
        parts = self.policy.memory_parts()
        self.activation_bytes = max(self.activation_bytes, rise - parts["gradients"] - (parts["optimizer"] - held))

    # What a curve, a record and a checkpoint ask.

    @property
    def progress(self) -> float:
        """How far along the curve the run is, 0 .. 1."""
        return self.budget.fraction(self.spend)

    @contextmanager
    def at(self, fraction: float) -> Iterator[Spend]:
        """While this holds, the policy is what `fraction` of the budget buys; yields what that has spent."""
        yield self.spend

    def split(self) -> dict[str, Any]:
        """How the spend divides between sampling and training, where they are stages of their own."""
        return {}

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a run is beside its models: numbers and tensors."""
        numbers, tensors = self.source.state()
        return {
            "algo": dataclasses.asdict(self.algo),
            "rounds": self.rounds,
            "spend": self.spend.as_dict(),
            "phases": self.meter.as_dict(),
            "checks": self.checks,
            "costs": self.planner.costs,
            "activation_bytes": self.activation_bytes,
            "peak_cache_bytes": self.sampler.peak_cache_bytes,
            "iterations": self.iterations.begun,
            "aside": self.aside,
            "source": numbers,
        }, {f"source.{name}": x for name, x in tensors.items()}

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from there."""
        self.algo, self.rounds = build(type(self.algo), state["algo"], "algo."), state["rounds"]
        for f in dataclasses.fields(self.spend):
            setattr(self.spend, f.name, state["spend"][f.name])
        self.meter.load(state["phases"])
        self.checks.update(state["checks"])
        self.planner.costs[:] = [(int(groups), float(cost)) for groups, cost in state["costs"]]
        self.activation_bytes, self.sampler.peak_cache_bytes = state["activation_bytes"], state["peak_cache_bytes"]
        self.iterations.begun, self.aside = state["iterations"], state["aside"]
        mine = {name.removeprefix("source."): x for name, x in tensors.items() if name.startswith("source.")}
        self.source.load(state["source"], mine)

    def modules(self) -> dict[str, Any]:
        """Every model that a checkpoint keeps, by the name of its part of memory."""
        return {**self.policy.modules(), **self.source.modules()}


def _add(sums: defaultdict[str, float], metrics: Metrics | dict[str, float]) -> None:
    for name, value in metrics.items():
        sums[name] += float(value)
