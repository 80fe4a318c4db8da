"""A run whose completions come from the start model (Schedule.source = "start"): sample first, train after.

    budget   |--- sampling_share ---|------- the rest -------|     FLOPs, seconds: paid by both
             sample, in rounds      train, in passes               until the budget is spent
    prompts, completions, generated tokens are paid by sampling alone: `epochs` passes follow.  Trained tokens and
    updates are paid by training alone: as much is sampled as a live run with one update a round would sample.

The point of its curve at fraction f is a model trained from the start model on the first f of the one sampling
stream (DESIGN rule 6): a side branch, made while sampling stands there, metered apart and forgotten.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from algos import Batch, Credit, Rollouts
from harness.accounting.budget import FILLED, Budget, Spend
from harness.accounting.profiler import BRANCH, Meter
from harness.rollout.collate import join
from harness.training.batching import deal, split
from harness.training.metrics import Round
from harness.training.trainer import Trainer


@dataclass
class Offline(Trainer):
    """Rounds that sample, then passes over what the algorithm keeps, `schedule.prompts` groups an update."""

    replay: list[Rollouts] = field(default_factory=list)  # on the CPU; group_N is the problem's place in the draws
    passes: int = 0
    closed: bool = False  # nothing more fits, or nothing was kept
    sampled: Spend | None = None  # the ledger when sampling ended
    kept: tuple[Rollouts, Credit] | None = None  # what is trained on, once sampling has ended
    kept_count: int = 0  # its completions

    def round(self) -> Round | None:
        groups = self.affords() if self.sampled is None else 0
        return self.gather(groups) if groups else self.train_pass()

    def gather(self, groups: int) -> Round:
        """A round of sampling.  Its credit is for the eye alone: selection sees the whole stream."""
        started, before, ordinal = time.perf_counter(), self.planner.budget.used(self.spend), self.ordinal
        explored = self.explore(groups)
        place_N = torch.tensor(self.draws.places(ordinal, self.ordinal - ordinal)).repeat_interleave(
            self.schedule.group_size
        )
        here = {name: x.cpu() for name, x in vars(explored.rollouts).items() if isinstance(x, Tensor)}
        self.replay.append(Rollouts(**{**here, "group_N": place_N}))
        credit = self.algo.credit(explored.rollouts)
        return self.closing(ordinal, before, Round(self.rounds + 1, explored, credit, {}, self.spend, started))

    def select(self) -> tuple[Rollouts, Credit]:
        """What the algorithm keeps of the stream so far; draws of one problem are one group."""
        rollouts = join(self.replay, self.sampler.pad)
        rollouts = replace(rollouts, group_N=rollouts.group_N.unique(return_inverse=True)[1])
        credit = self.algo.credit(rollouts)
        chosen = credit.keep_N.nonzero()[:, 0]
        rollouts, credit = rollouts.take(chosen), credit.take(chosen)
        return replace(rollouts, group_N=rollouts.group_N.unique(return_inverse=True)[1]), credit

    def train_pass(self) -> Round | None:
        """One pass over what was kept, or what the budget still pays for of one; None where the run is over."""
        if self.closed or (self.budget.unit not in FILLED and self.passes >= self.schedule.epochs):
            return None
        started, self.policy.frozen = time.perf_counter(), False
        self.sampled = self.sampled or copy.copy(self.spend)
        self.kept = self.kept or (self.select() if self.replay else None)
        self.kept_count = len(self.kept[0].group_N) if self.kept else 0
        if self.kept is None or self.kept_count == 0:
            self.closed = True
            return None
        held, updates = self.policy.memory_parts()["optimizer"], self.spend.updates
        with self.meter("update") as phase:
            trained, metrics = self.update(self.updates(*self.kept), on_policy=self.passes == 0)
            phase.tokens += trained
        if self.spend.updates == updates:
            return None
        self.measure_activations(phase.rise_bytes, held)
        self.spend.device_seconds = self.meter.charged_seconds
        self.passes, self.rounds = self.passes + 1, self.rounds + 1
        return Round(self.rounds, None, None, metrics, self.spend, started)

    def updates(self, rollouts: Rollouts, credit: Credit) -> Iterator[list[Batch]]:
        """The updates of one pass, as long as the budget pays for them; the last may be of fewer groups."""
        groups = int(rollouts.group_N.max()) + 1
        count, began = -(-groups // self.schedule.prompts), time.perf_counter()
        for done, part in enumerate(deal(groups, count, self.draws.seed, 0, self.passes)):
            part, whole = self.affordable(part, rollouts, began, done), len(part)
            self.closed = len(part) < whole
            if len(part) == 0:
                return
            self.policy.progress = self.trained_share(self.passes + done / count)
            batches = split(rollouts, credit, part, self.sampling.max_new_tokens, self.micro_tokens)
            yield [_to(batch, self.policy.device) for batch in batches]
            if self.closed:
                return

    def affordable(self, part: Tensor, rollouts: Rollouts, began: float, done: int) -> Tensor:
        """The groups of an update that the rest of the budget pays for: all of them where training is free."""
        if self.budget.unit not in FILLED:
            return part
        left = self.budget.limit - self.budget.used(self.spend)
        if self.budget.unit == "device_seconds":  # known only from the updates before it
            passed = time.perf_counter() - began
            return part if left - passed >= passed / max(done, 1) else part[:0]
        while len(part) and self.cost(part, rollouts) > left:
            part = part[:-1]
        return part

    def cost(self, part: Tensor, rollouts: Rollouts) -> float:
        """Of an update on the groups `part`, in the budget's unit."""
        member_N = torch.isin(rollouts.group_N, part)
        lengths = rollouts.attend_NS[member_N].sum(1).tolist()
        tokens = int(rollouts.mask_NT[member_N].sum())
        return {"trained_tokens": float(tokens), "updates": 1.0, "flops": self.flops.update(lengths)}[self.budget.unit]

    def trained_share(self, passes: float) -> float:
        """How much of the training is done: what a decaying rate goes by."""
        if self.budget.unit not in FILLED or self.sampled is None:
            return passes / self.schedule.epochs
        start = self.budget.used(self.sampled)
        return (self.budget.used(self.spend) - start) / max(self.budget.limit - start, 1e-12)

    @property
    def progress(self) -> float:
        """The share of the stream that is sampled: every point before the end is due before training begins."""
        return self.planner.budget.fraction(self.spend) if self.planner.groups(self.spend) else 1.0

    @contextmanager
    def at(self, fraction: float) -> Iterator[Spend]:
        if fraction == 0 or self.sampled is not None:  # the start model; the run itself
            yield self.spend
            return
        branch, start = copy.copy(self), copy.deepcopy(self.policy.state())
        branch.spend, branch.checks, branch.meter = copy.copy(self.spend), {}, Meter(self.meter.device)
        branch.meter.load(self.meter.as_dict())
        branch.budget = Budget(self.budget.unit, fraction * self.budget.limit)
        try:
            with self.meter(BRANCH):
                while branch.train_pass() is not None:
                    pass
            yield branch.spend
        finally:
            self.policy.load(start)

    def split(self) -> dict[str, Any]:
        total, sampling = self.spend.as_dict(), (self.sampled or self.spend).as_dict()
        training = {unit: total[unit] - sampling[unit] for unit in total}
        counts = {"passes": self.passes, "kept_completions": self.kept_count}
        return {"sampling": sampling, "training": training, **counts}

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        numbers, tensors = super().state()
        sampled = self.sampled and self.sampled.as_dict()
        numbers |= {"passes": self.passes, "closed": self.closed, "sampled": sampled, "kept_count": self.kept_count}
        for i, r in enumerate(self.replay):
            tensors |= {f"{i:05d}.{name}": x for name, x in vars(r).items() if isinstance(x, Tensor)}
        return numbers, tensors

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().load(state, tensors)
        self.passes, self.closed, self.kept_count = state["passes"], state["closed"], state["kept_count"]
        self.sampled = Spend(**state["sampled"]) if state["sampled"] else None
        places = sorted({place for name in tensors if (place := name.partition(".")[0]).isdecimal()})
        self.replay = [
            Rollouts(**{name[6:]: x.cpu() for name, x in tensors.items() if name.startswith(f"{place}.")})
            for place in places
        ]


def _to(batch: Batch, device: torch.device) -> Batch:
    def moved(part: Rollouts | Credit) -> dict[str, Any]:
        return {name: x.to(device) for name, x in vars(part).items() if isinstance(x, Tensor)}

    rollouts, credit = replace(batch.rollouts, **moved(batch.rollouts)), replace(batch.credit, **moved(batch.credit))
    return replace(batch, rollouts=rollouts, credit=credit)
