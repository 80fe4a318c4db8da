"""A run whose completions come from the initial policy (Schedule.source = "initial"): sample first, train after.

    budget   |-- sampling_fraction --|------- the rest -------|     FLOPs, seconds: paid by both
             sample, in rounds        train, in passes              until the budget is spent
    prompts, completions, generated tokens are paid by sampling alone: `epochs` passes follow.  Trained tokens and
    updates are paid by training alone: as much is sampled as a live run with one update per round would sample.

With `epochs` 0 nothing is trained: all of the budget is sampled, and `accepted` is what there is to show for it.

The point of its learning curve at fraction f is a model trained from the initial policy on the first f of the one
sampling stream: a side branch, trained when sampling has reached f, metered separately and discarded.
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
from evals.tasks import Problem
from harness.accounting.budget import FILLED, Budget, Spend
from harness.accounting.profiler import CURVE_BRANCH, PhaseProfiler
from harness.processes.group import current
from harness.processes.ledger import enter_seconds
from harness.rollout.collate import join
from harness.training.batching import deal, split
from harness.training.metrics import Round
from harness.training.trainer import Trainer


@dataclass
class OfflineLoop:
    """Rounds that sample, then passes over what the algorithm keeps, `schedule.prompts` groups per update.

    It drives a trainer: the trainer collects rollouts, takes updates and holds the ledger.
    """

    trainer: Trainer
    replay: list[Rollouts] = field(default_factory=list)  # on the CPU; group_N is the problem's place in the split
    passes: int = 0
    closed: bool = False  # nothing more fits, or nothing was kept
    sampled: Spend | None = None  # the ledger when sampling ended
    kept: tuple[Rollouts, Credit] | None = None  # what is trained on, once sampling has ended
    kept_count: int = 0  # its completions

    def train_round(self) -> Round | None:
        groups = self.trainer.next_round_size() if self.sampled is None else 0
        return self.sample_round(groups) if groups else self.train_pass()

    def sample_round(self, groups: int) -> Round:
        """A round of sampling.  Its credit is for the metrics alone: what is kept is chosen from the whole stream."""
        t = self.trainer
        started, before, ordinal = time.perf_counter(), t.round_sizer.budget.used(t.spend), t.ordinal
        collected = t.collect_rollouts(groups)
        places = torch.tensor(t.prompt_stream.places(ordinal, t.ordinal - ordinal))
        columns = vars(collected.rollouts).items()
        on_cpu: dict[str, Any] = {name: x.cpu() for name, x in columns if isinstance(x, Tensor)}
        on_cpu["group_N"] = places.repeat_interleave(t.schedule.group_size)
        self.replay.append(Rollouts(**on_cpu))
        credit = t.algo.credit(collected.rollouts)
        return t.finish_round(ordinal, before, Round(t.rounds + 1, collected, credit, {}, t.spend, started))

    def select(self) -> tuple[Rollouts, Credit]:
        """What the algorithm keeps of the stream so far; all draws of one problem are one group."""
        rollouts = join(self.replay, self.trainer.sampler.pad)
        rollouts = replace(rollouts, group_N=rollouts.group_N.unique(return_inverse=True)[1])
        credit = self.trainer.algo.credit(rollouts)
        chosen = credit.keep_N.nonzero()[:, 0]
        rollouts, credit = rollouts.take(chosen), credit.take(chosen)
        return replace(rollouts, group_N=rollouts.group_N.unique(return_inverse=True)[1]), credit

    def accepted(self) -> list[tuple[Problem, list[int]]]:
        """What the algorithm keeps of the whole stream: the problem of each, and the tokens of its completion."""
        if not self.replay:
            return []
        whole = join(self.replay, self.trainer.sampler.pad)
        keep_N = self.trainer.algo.credit(replace(whole, group_N=whole.group_N.unique(return_inverse=True)[1])).keep_N
        chosen = whole.take(keep_N.nonzero()[:, 0])
        width, problems = chosen.completion_mask_NT.shape[1], self.trainer.prompt_stream.problems
        rows = zip(chosen.group_N.tolist(), chosen.tokens_NS[:, -width:], chosen.completion_mask_NT, strict=True)
        self.kept_count = len(chosen.group_N)
        return [(problems[place], tokens[mask].tolist()) for place, tokens, mask in rows]

    def train_pass(self) -> Round | None:
        """One pass over what was kept, or as much of one as the budget still pays for; None where the run is over."""
        t = self.trainer
        filling = t.budget.unit in FILLED and t.schedule.epochs > 0
        if self.closed or (not filling and self.passes >= t.schedule.epochs):
            return None
        started, t.policy.value_only = time.perf_counter(), False
        self.sampled = self.sampled or copy.copy(t.spend)
        self.kept = self.kept or (self.select() if self.replay else None)
        self.kept_count = len(self.kept[0].group_N) if self.kept else 0
        if self.kept is None or self.kept_count == 0:
            self.closed = True
            return None
        optimizer_bytes, updates = t.policy.memory_parts()["optimizer"], t.spend.updates
        with t.profiler("update") as phase:
            trained, metrics = t.update(self.updates(*self.kept), on_policy=self.passes == 0)
            phase.tokens += trained
        if t.spend.updates == updates:
            return None
        t.measure_activations(phase.rise_bytes, optimizer_bytes)
        enter_seconds(t.spend, t.profiler)
        self.passes, t.rounds = self.passes + 1, t.rounds + 1
        return Round(t.rounds, None, None, metrics, t.spend, started)

    def updates(self, rollouts: Rollouts, credit: Credit) -> Iterator[list[Batch]]:
        """The updates of one pass, as long as the budget pays for them; the last may be of fewer groups."""
        t, groups = self.trainer, int(rollouts.group_N.max()) + 1
        count, began = -(-groups // t.schedule.prompts), time.perf_counter()
        for done, part in enumerate(deal(groups, count, t.prompt_stream.seed, 0, self.passes)):
            part, whole = self.affordable(part, rollouts, began, done), len(part)
            self.closed = len(part) < whole
            if len(part) == 0:
                return
            t.policy.progress = self.trained_fraction(self.passes + done / count)
            batches = split(rollouts, credit, part, t.sampling.max_new_tokens, t.micro_batch_tokens)
            yield [_to(batch, t.policy.device) for batch in batches]
            if self.closed:
                return

    def affordable(self, part: Tensor, rollouts: Rollouts, began: float, done: int) -> Tensor:
        """The groups of an update that the rest of the budget pays for: all of them where training is free."""
        budget, spend = self.trainer.budget, self.trainer.spend
        if budget.unit not in FILLED:
            return part
        left = budget.limit - budget.used(spend)
        if budget.unit == "device_seconds":  # known only from the updates before it
            passed = sum(current().gather(time.perf_counter() - began))  # of every rank's device
            return part if left - passed >= passed / max(done, 1) else part[:0]
        while len(part) and self.cost(part, rollouts) > left:
            part = part[:-1]
        return part

    def cost(self, part: Tensor, rollouts: Rollouts) -> float:
        """Of an update on the groups `part`, in the budget's unit."""
        member_N = torch.isin(rollouts.group_N, part)
        lengths = rollouts.attention_mask_NS[member_N].sum(1).tolist()
        tokens, flops = int(rollouts.completion_mask_NT[member_N].sum()), self.trainer.flops.update(lengths)
        return {"trained_tokens": float(tokens), "updates": 1.0, "flops": flops}[self.trainer.budget.unit]

    def trained_fraction(self, passes: float) -> float:
        """How much of the training is done: a decaying learning rate goes by it."""
        budget, spend = self.trainer.budget, self.trainer.spend
        if budget.unit not in FILLED or self.sampled is None:
            return passes / self.trainer.schedule.epochs
        start = budget.used(self.sampled)
        return (budget.used(spend) - start) / max(budget.limit - start, 1e-12)

    @property
    def progress(self) -> float:
        """The share of the stream that is sampled: every point before the end is due before training begins."""
        sizer, spend = self.trainer.round_sizer, self.trainer.spend
        return sizer.budget.fraction(spend) if sizer.groups(spend) else 1.0

    @contextmanager
    def at(self, fraction: float) -> Iterator[Spend]:
        t = self.trainer
        if fraction == 0 or self.sampled is not None:  # the initial policy; the run itself
            yield t.spend
            return
        branch, start = self._branch(fraction), copy.deepcopy(t.policy.state())
        try:
            with t.profiler(CURVE_BRANCH):
                while branch.train_pass() is not None:
                    pass
            yield branch.trainer.spend
        finally:
            t.policy.load(start)

    def _branch(self, fraction: float) -> OfflineLoop:
        """The training that would follow if sampling ended here: the same models, a ledger and a clock of its own."""
        t = self.trainer
        profiler = PhaseProfiler(t.profiler.device)
        profiler.load(t.profiler.as_dict())
        budget = Budget(t.budget.unit, fraction * t.budget.limit)
        trainer = replace(t, spend=copy.copy(t.spend), checks={}, profiler=profiler, budget=budget)
        return OfflineLoop(trainer, self.replay)

    def split(self) -> dict[str, Any]:
        total, sampling = self.trainer.spend.as_dict(), (self.sampled or self.trainer.spend).as_dict()
        training = {unit: total[unit] - sampling[unit] for unit in total}
        counts = {"passes": self.passes, "kept_completions": self.kept_count}
        return {"sampling": sampling, "training": training, **counts}

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        numbers, tensors = self.trainer.state()
        sampled = self.sampled and self.sampled.as_dict()
        numbers |= {"passes": self.passes, "closed": self.closed, "sampled": sampled, "kept_count": self.kept_count}
        for i, r in enumerate(self.replay):
            tensors |= {f"{i:05d}.{name}": x for name, x in vars(r).items() if isinstance(x, Tensor)}
        return numbers, tensors

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.trainer.load(state, tensors)
        self.passes, self.closed, self.kept_count = state["passes"], state["closed"], state["kept_count"]
        self.sampled = Spend(**state["sampled"]) if state["sampled"] else None
        places = sorted({place for name in tensors if (place := name.partition(".")[0]).isdecimal()})
        self.replay = []
        for place in places:
            kept: dict[str, Any] = {name[6:]: x.cpu() for name, x in tensors.items() if name.startswith(f"{place}.")}
            self.replay.append(Rollouts(**kept))


def _to(batch: Batch, device: torch.device) -> Batch:
    def moved(part: Rollouts | Credit) -> dict[str, Any]:
        return {name: x.to(device) for name, x in vars(part).items() if isinstance(x, Tensor)}

    rollouts, credit = replace(batch.rollouts, **moved(batch.rollouts)), replace(batch.credit, **moved(batch.credit))
    return replace(batch, rollouts=rollouts, credit=credit)
