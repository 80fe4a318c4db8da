"""One run from its configuration to its record: `prepare` checks everything the user gave, `execute` runs it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import algos
from algos import Schedule
from evals import taskfiles, tasks
from evals.tasks import EvalSet, Task
from harness.budget import Budget, Planner, Spend
from harness.config import RunConfig, build
from harness.display import Display
from harness.evaluate import Evaluator
from harness.flops import FlopsModel
from harness.load import accelerator, context_of, load_model, pick_device, save_model
from harness.meter import Meter
from harness.metrics import warnings
from harness.policy import LMPolicy, Optim
from harness.prompts import Draws, Encoder
from harness.record import SCHEMA, Recorder, config_sha256, environment, sha256
from harness.reward import load_reward
from harness.rollout import Sampler, Sampling
from harness.train import Trainer


@dataclass
class Run:
    """Everything a run needs, checked and built; nothing has been written yet."""

    config: RunConfig
    folder: Path
    trainer: Trainer
    evaluator: Evaluator
    eval_sets: list[EvalSet]
    record: dict[str, Any]
    notices: list[str]  # what the user should know of the data


def prepare(config: RunConfig) -> Run:
    """Raises ValueError, one line, on anything the user got wrong; touches no file."""
    algorithm = algos.load(config.algo_name)
    algo = build(algorithm, config.algo, "algo.")
    base = Schedule(prompts=config.prompts, group_size=config.group_size)
    schedule = algo.schedule(base)
    task = build(tasks.load(config.task_name), config.task, "task.")
    reward = load_reward(config.reward)
    budget = Budget.parse(config.budget)
    folder = run_folder(config, task.name)
    device = pick_device(config.device)
    model, tokenizer, identity = load_model(config.model, config.dtype)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"model: the tokenizer of '{config.model}' has no end token")
    encoder = Encoder(tokenizer, context_of(model), config.max_new_tokens)
    problems, eval_sets = task.train(config.seed), task.eval_sets(config.eval_limit)
    longest = longest_prompt(encoder, task.name, (p.prompt for p in problems))
    for s in eval_sets:
        longest_prompt(encoder, s.name, (p.prompt for p in s.problems))

    spend, meter, flops = Spend(), Meter(device), FlopsModel.of(model)
    policy = LMPolicy(
        model,
        accelerator(device, config.dtype),
        Optim(config.lr, config.warmup, config.decay),
        config.temperature,
        reference="reference" in algo.needs,
        micro_tokens=config.micro_tokens,
        progress=lambda: budget.fraction(spend),
    )
    sampler = Sampler(policy.model, tokenizer, config.rollout_rows)
    trainer = Trainer(
        algo=algo,
        schedule=schedule,
        policy=policy,
        sampler=sampler,
        encoder=encoder,
        task=task,
        reward=reward,
        draws=Draws(problems, config.seed),
        sampling=Sampling(config.temperature, config.max_new_tokens, config.seed, "train", task.stop),
        planner=Planner(budget, schedule.prompts, group_bound(budget.unit, schedule, config, flops, longest)),
        flops=flops,
        meter=meter,
        micro_tokens=config.micro_tokens,
        spend=spend,
        checks={},
    )
    names = [s.name for s in eval_sets] + list(config.eval_tasks)
    evaluator = Evaluator(sampler, encoder, folder / "tasks", names, config.seed)
    record = new_record(
        config, dataclasses.asdict(algo), task, schedule, budget, identity, eval_sets, str(policy.device)
    )
    return Run(config, folder, trainer, evaluator, eval_sets, record, task.notices())


def run_folder(config: RunConfig, task: str) -> Path:
    """OUT/NAME.  A name that the user gave must be free; the default name is numbered if taken."""
    out = Path(config.out)
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"out: cannot write in {existing}")
    if config.name is not None:
        folder = out / config.name
        if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
            raise ValueError(f"name: {folder} already holds another run; choose another --name, or --resume it")
        return folder
    stem = f"{Path(config.algo_name).stem}-{task}-s{config.seed}"
    numbered = (out / (stem if k == 1 else f"{stem}-{k}") for k in range(1, 10**6))
    return next(folder for folder in numbered if not folder.exists())


def longest_prompt(encoder: Encoder, name: str, prompts: Iterator[str]) -> int:
    """In tokens.  Raises ValueError, naming the set, where a prompt leaves no room for a completion."""
    return max(len(encoder.ids(encoder.render(prompt), name)) for prompt in prompts)


def group_bound(unit: str, schedule: Schedule, config: RunConfig, flops: FlopsModel, longest: int) -> float | None:
    """The most that one group can cost, in the budget's unit (for `updates`: what a round costs)."""
    tokens = schedule.group_size * config.max_new_tokens
    whole = [longest], [[config.max_new_tokens] * schedule.group_size]
    bounds = {
        "prompts": 1.0,
        "completions": float(schedule.group_size),
        "updates": float(schedule.updates),
        "generated_tokens": float(tokens),
        "trained_tokens": float(tokens * schedule.epochs),
        "flops": flops.rollout(*whole) + flops.score(*whole) + schedule.epochs * flops.train(*whole),
    }
    return bounds.get(unit)  # seconds: nobody knows before they have passed


def new_record(
    config: RunConfig,
    algo: dict[str, Any],
    task: Task,
    schedule: Schedule,
    budget: Budget,
    identity: dict[str, str],
    eval_sets: list[EvalSet],
    device: str,
) -> dict[str, Any]:
    resolved = {**config.as_dict(), "algo": algo, "schedule": dataclasses.asdict(schedule)}
    prompts = "\n".join(p.prompt for s in eval_sets for p in s.problems)
    data = [
        {"name": s.name, "sha256": sha256("\n".join(f"{p.id} {p.gold}" for p in s.problems).encode())}
        for s in eval_sets
    ]
    return {
        "schema": SCHEMA,
        "status": "running",
        "reason": None,
        "algo": config.algo_name,
        "seed": config.seed,
        "config": resolved,
        "config_sha256": config_sha256(resolved),
        "budget": dataclasses.asdict(budget),
        "spend": Spend().as_dict(),
        "phases": {},
        "memory": {},
        "checks": {},
        "evals": [],
        "environment": {
            **environment(device, torch.get_num_threads()),
            "model": identity,
            "data": data,
            "prompt_sha256": sha256(prompts.encode()),
        },
    }


def execute(run: Run, display: Display) -> dict[str, Any]:
    """Run it.  The record says `finished`, `interrupted` or `failed` (with a reason) whatever happens."""
    recorder = Recorder(run.folder, run.record)
    trainer, fractions = run.trainer, sorted(set(run.config.eval_fractions))
    taskfiles.write(
        run.trainer.task.spec(),
        run.eval_sets,
        run.folder / "tasks",
        run.config.max_new_tokens,
        _render(trainer.encoder),
    )
    recorder.save()
    for notice in run.notices:
        display.message(notice)
    try:
        _rounds(run, recorder, display, fractions)
        with trainer.meter("checkpoint"):
            model = trainer.policy.accelerator.unwrap_model(trainer.policy.model)
            save_model(model, trainer.encoder.tokenizer, run.folder / "checkpoints" / "final")
        run.record["status"] = "finished"
    except KeyboardInterrupt:
        run.record.update(status="interrupted", reason="interrupted by the user")
        raise
    except Exception as error:
        run.record.update(status="failed", reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        _settle(run)
        recorder.save()
        recorder.close()
    return run.record


def _render(encoder: Encoder) -> Callable[[str], str] | None:
    return encoder.render if encoder.chat else None


def _rounds(run: Run, recorder: Recorder, display: Display, fractions: list[float]) -> None:
    """The loop with its evaluations: each falls at the first round that reaches its fraction of the budget."""
    trainer, budget = run.trainer, run.trainer.planner.budget
    history: list[dict[str, float]] = []
    exact = trainer.policy.device.type == "cpu" and trainer.policy.accelerator.mixed_precision == "no"

    def evaluate(fraction: float) -> None:
        display.phase(f"evaluating at {fraction:.0%} of the budget")
        rows = run.evaluator.record(fraction, trainer.spend, trainer.meter, recorder, trainer.rounds)
        display.evaluation(fraction, rows)

    waiting = list(fractions)
    if waiting and waiting[0] == 0.0:
        evaluate(waiting.pop(0))
    display.phase("training")
    while (done := trainer.round()) is not None:
        metrics = done.metrics(budget, trainer.meter)
        history.append(metrics)
        recorder.round(done.number, metrics, done.samples())
        display.round(metrics, warnings(history, exact))
        _settle(run)
        recorder.save()
        while waiting and waiting[0] < 1.0 and budget.fraction(trainer.spend) >= waiting[0]:
            evaluate(waiting.pop(0))
    if waiting:
        evaluate(waiting[-1])


def _settle(run: Run) -> None:
    """Bring the record up to date with the ledger and the meter."""
    trainer = run.trainer
    run.record["spend"] = trainer.spend.as_dict()
    run.record["phases"] = trainer.meter.as_dict()
    run.record["checks"] = dict(trainer.checks)
    parts = {name: {"bytes": size, "how": "measured"} for name, size in trainer.policy.memory_parts().items()}
    parts["kv_cache"] = {"bytes": trainer.sampler.peak_cache_bytes, "how": "measured"}
    parts["activations"] = {"bytes": trainer.activation_bytes, "how": "measured"}
    run.record["memory"] = {"peak_bytes": trainer.meter.peak_bytes, "parts": parts}
