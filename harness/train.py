"""The loop: prompts -> completions -> rewards -> credit -> loss -> update -> record.

It is blind to what it trains: no algorithm and no task is named here.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import torch

from algos import Algorithm, Credit, Metrics, Rollouts, Schedule
from evals.tasks import Problem, Task
from harness.batch import updates
from harness.budget import Planner, Spend
from harness.flops import FlopsModel
from harness.meter import Meter
from harness.metrics import Round
from harness.policy import LMPolicy
from harness.prompts import Draws, Encoder
from harness.reward import RewardFunction, score
from harness.rollout import Sampler, Sampling, left_pad


@dataclass
class Trainer:
    """Everything a run is made of, and the state that a checkpoint keeps: `spend`, `rounds`, `checks`."""

    algo: Algorithm
    schedule: Schedule
    policy: LMPolicy
    sampler: Sampler
    encoder: Encoder
    task: Task
    reward: RewardFunction
    draws: Draws
    sampling: Sampling
    planner: Planner
    flops: FlopsModel
    meter: Meter
    micro_tokens: int
    spend: Spend
    checks: dict[str, float]
    rounds: int = 0
    activation_bytes: int = 0  # the most that an update needed beyond what lives for the whole run

    def round(self) -> Round | None:
        """One round of the loop; None where the budget is spent."""
        groups = self.planner.groups(self.spend)
        if groups == 0 or (self.schedule.rounds is not None and self.rounds >= self.schedule.rounds):
            return None
        started, before = time.perf_counter(), self.planner.budget.used(self.spend)
        ordinal = self.spend.prompts
        problems = self.draws.take(ordinal, groups)
        with self.meter("rollout") as phase:
            rollouts, texts = self.explore(problems, ordinal)
            phase.tokens += int(rollouts.mask_NT.sum())
        with self.meter("reward"):
            owners = [p for p in problems for _ in range(self.schedule.group_size)]
            rollouts, judged = score(rollouts, owners, texts, self.task, self.reward)
        with self.meter("annotate") as phase:
            rollouts = self.policy.annotate(rollouts, self.algo.needs)
            phase.tokens += int(rollouts.attend_NS.sum()) * ("reference" in self.algo.needs)
        credit = self.algo.credit(rollouts)
        with self.meter("update") as phase:
            trained, metrics = self.update(rollouts, credit, ordinal)
            phase.tokens += trained
        self.measure_activations(phase.rise_bytes)
        self.charge(rollouts, groups, trained)
        self.planner.observe(groups, self.planner.budget.used(self.spend) - before)
        self.rounds += 1
        return Round(
            self.rounds, rollouts, credit, judged, owners, texts, metrics, self.spend, time.perf_counter() - started
        )

    def explore(self, problems: list[Problem], ordinal: int) -> tuple[Rollouts, list[str]]:
        """Sample G completions of each problem; `ordinal` numbers the first draw."""
        prompts = [self.encoder.ids(self.encoder.render(p.prompt), p.id) for p in problems]
        ordinals = list(range(ordinal, ordinal + len(problems)))
        done = self.sampler(prompts, self.schedule.group_size, self.sampling, ordinals)
        device, group = self.policy.device, self.schedule.group_size
        tokens_PL, attend_PL = (x.to(device).repeat_interleave(group, 0) for x in left_pad(prompts, self.sampler.pad))
        columns = torch.arange(done.tokens_NT.shape[1], device=device)
        mask_NT = columns < done.length_N[:, None]
        rollouts = Rollouts(
            tokens_NS=torch.cat([tokens_PL, done.tokens_NT], 1),
            attend_NS=torch.cat([attend_PL, mask_NT], 1),
            mask_NT=mask_NT,
            logp_NT=done.logp_NT,
            group_N=torch.arange(len(problems), device=device).repeat_interleave(group),
            ended_N=done.ended_N,
        )
        return rollouts, self.sampler.texts(done, self.sampling.stop)

    def update(self, rollouts: Rollouts, credit: Credit, ordinal: int) -> tuple[int, dict[str, float]]:
        """Every update of the round.  Returns the completion tokens trained and the metrics, averaged."""
        trained, taken = 0, 0
        sums: defaultdict[str, float] = defaultdict(float)
        parts = updates(
            rollouts, credit, self.schedule, self.sampling.max_new_tokens, self.micro_tokens, self.draws.seed, ordinal
        )
        for micro in parts:
            apart = 0.0
            for batch in micro:
                fresh = self.policy.forward(batch, self.algo.needs)
                loss, metrics = self.algo.loss(batch, fresh)
                self.policy.backward(loss)
                gap_NT = (fresh.logp_NT.detach() - batch.rollouts.logp_NT).abs()
                apart = max(apart, float(torch.where(batch.rollouts.mask_NT, gap_NT, 0).max()))
                _add(sums, {"loss": loss.detach(), **metrics})
            _add(sums, self.policy.step())
            self.checks.setdefault("first_update_max_abs_logratio", apart)
            sums["sampling/max_abs_logratio"] += apart if taken == 0 else 0.0
            trained, taken = trained + micro[0].totals.tokens, taken + 1
        self.spend.updates += taken
        once = sums.pop("sampling/max_abs_logratio")
        return trained, {**{k: v / taken for k, v in sums.items()}, "sampling/max_abs_logratio": once}

    def measure_activations(self, rise: int) -> None:
        """What an update rose by, less its gradients (and, the first time, the optimiser's state)."""
        parts = self.policy.memory_parts()
        lasting = parts["gradients"] + (parts["optimizer"] if self.rounds == 0 else 0)
        self.activation_bytes = max(self.activation_bytes, rise - lasting)

    def charge(self, rollouts: Rollouts, groups: int, trained: int) -> None:
        """Enter a round in the ledger (its updates are already there)."""
        lengths = rollouts.mask_NT.sum(1).tolist()
        size = self.schedule.group_size
        completions = [lengths[i : i + size] for i in range(0, len(lengths), size)]
        prompts = (rollouts.attend_NS.sum(1) - rollouts.mask_NT.sum(1)).tolist()[::size]
        passes = self.schedule.epochs
        flops = self.flops.rollout(prompts, completions) + passes * self.flops.train(prompts, completions)
        if "reference" in self.algo.needs:
            flops += self.flops.score(prompts, completions)
        self.spend.prompts += groups
        self.spend.completions += len(lengths)
        self.spend.generated_tokens += sum(lengths)
        self.spend.trained_tokens += trained
        self.spend.flops += flops
        self.spend.verifier_calls += len(lengths)
        self.spend.device_seconds = self.meter.charged_seconds


def _add(sums: defaultdict[str, float], metrics: Metrics | dict[str, float]) -> None:
    for name, value in metrics.items():
        sums[name] += float(value)
