"""Our side: a step is one `Trainer.round()`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from harness.accounting.profiler import PHASES
from harness.bench.vs_trl.job import Job, config_of, cycle, material
from harness.bench.vs_trl.worker import Channel, Memory, ready, rehearse
from harness.models.loading import pick_device
from harness.training.setup import prepare
from harness.training.trainer import Trainer


def serve(job: Job, channel: Channel) -> None:
    cuda = pick_device(job.device).startswith("cuda")
    rehearse(job)
    memory = Memory(cuda)
    trainer = trainer_of(job)
    memory.read()
    channel.tell(ready(memory, str(trainer.policy.device)))
    while channel.asked():
        channel.tell({**step(trainer), **memory.read(trainer.meter.peak_bytes)})


def trainer_of(job: Job) -> Trainer:
    """A run that never ends, over the job's prompts."""
    trainer = prepare(config_of(job)).trainer
    _, problems = material(job)
    trainer.draws = cycle(problems, trainer.draws.seed)
    if job.forced:
        trainer.sampler.ends = []
        trainer.sampling = replace(trainer.sampling, stop=())
    return trainer


def step(trainer: Trainer) -> dict[str, Any]:
    """Seconds of a round, its metrics included, and what it sampled.

    `update` is whatever is neither rollout nor reward: credit, reference, loss, gradient, optimiser.
    """
    before = {name: trainer.meter.phases[name].seconds for name in PHASES}
    start = trainer.meter._now()
    done = trainer.round()
    assert done is not None
    metrics = done.metrics(trainer.planner.budget, trainer.meter)
    whole = (trainer.meter._now() if trainer.meter.cuda else time.perf_counter()) - start
    spent = {name: trainer.meter.phases[name].seconds - before[name] for name in ("rollout", "reward")}
    assert done.explored is not None
    return {
        **spent,
        "update": whole - sum(spent.values()),
        "end_to_end": whole,
        "tokens": int(done.explored.rollouts.mask_NT.sum()),
        "reward_mean": metrics["reward"],
    }
