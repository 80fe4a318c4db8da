"""Our side: a step is one `Trainer.train_round()`."""

from __future__ import annotations

import time
from typing import Any

from harness.accounting.profiler import PHASES
from harness.bench.vs_trl.job import Job, config_of, cycle, material
from harness.bench.vs_trl.worker import Channel, Memory, ready, rehearse
from harness.bench.workload import force_full_length
from harness.models.loading import pick_device
from harness.training.setup import prepare
from harness.training.trainer import Trainer


def serve(job: Job, channel: Channel) -> None:
    cuda = pick_device(job.device).startswith("cuda")
    rehearse(job)
    memory = Memory(cuda)
    trainer = trainer_of(job)
    memory.read()
    channel.send(ready(memory, str(trainer.policy.device)))
    while channel.wait():
        channel.send({**step(trainer), **memory.read(trainer.profiler.peak_bytes)})


def trainer_of(job: Job) -> Trainer:
    """The trainer of an endless run over the job's prompts."""
    trainer = prepare(config_of(job)).trainer
    _, problems = material(job)
    trainer.prompt_stream = cycle(problems, trainer.prompt_stream.seed)
    if job.forced:
        force_full_length(trainer)
    return trainer


def step(trainer: Trainer) -> dict[str, Any]:
    """Seconds of a round, including its metrics, and its tokens and reward.

    `update` is everything except rollout and reward: credit, reference, loss, gradient, optimiser.
    """
    before = {name: trainer.profiler.phases[name].seconds for name in PHASES}
    start = trainer.profiler._now()
    done = trainer.train_round()
    assert done is not None
    metrics = done.metrics(trainer.round_sizer.budget, trainer.profiler)
    whole = (trainer.profiler._now() if trainer.profiler.cuda else time.perf_counter()) - start
    spent = {name: trainer.profiler.phases[name].seconds - before[name] for name in ("rollout", "reward")}
    assert done.collected is not None
    return {
        **spent,
        "update": whole - sum(spent.values()),
        "end_to_end": whole,
        "tokens": int(done.collected.rollouts.completion_mask_NT.sum()),
        "reward_mean": metrics["reward"],
    }
