"""The predicted cost of a run, from configurations alone: FLOPs (`harness.accounting.flops`), tokens, and rounds.

Every completion is assumed to be at the token limit and every prompt as long as the longest: an upper bound per round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from algos import Schedule
from harness.accounting.budget import FILLED, SHARED, Budget, sampling_budget
from harness.accounting.flops import FlopsModel, RunFlops
from harness.config.lora import is_adapter
from harness.planner.architecture import Architecture
from harness.planner.setting import Setting, reward_model_parameters, value_model_parameters
from harness.records.runs import raw_record, run_folders, written_at


@dataclass(frozen=True)
class Cost:
    """Of a round and of the run.  `rounds` and `flops` are None where the budget is in seconds and no rate is known."""

    parameters: int
    round_tokens: int  # generated
    round_trained: int
    round_flops: float
    rounds: float | None = None
    flops: float | None = None
    seconds: float | None = None
    rate: float | None = None  # FLOPs per second, of a finished run
    source: str = ""  # the folder of that run


def flops_of(s: Setting) -> RunFlops:
    """Equal to `FlopsModel.of` of the run's own models."""
    policy = _model(
        s.architecture, s.architecture.parameters - (0 if s.architecture.tied else s.architecture.embedding)
    )
    base, value_model = policy, None
    if s.adapter is not None:
        policy = base.adapted(s.adapter.parameters)
    if s.adapter is not None and s.schedule.critic == "separate":
        headless = FlopsModel(2.0 * (s.architecture.backbone - s.architecture.embedding), base.attention)
        value_model = headless.adapted(value_model_parameters(s))
    elif s.schedule.critic == "separate":
        value_model = FlopsModel(2.0 * (value_model_parameters(s) - s.architecture.embedding), policy.attention)
    elif s.schedule.critic == "shared":
        value_model = FlopsModel(2.0 * value_model_parameters(s), 0.0)
    reward_model = (
        FlopsModel(2.0 * (reward_model_parameters(s) - s.architecture.embedding), policy.attention)
        if s.learned_reward
        else None
    )
    kept = policy if s.config.reset_reference or is_adapter(s.config.model) else base
    return RunFlops(policy, kept if "reference" in s.algo.needs else None, value_model, reward_model)


def _model(a: Architecture, multiplied: int) -> FlopsModel:
    """`multiplied`: parameters in matrix products.  An input embedding is not one, unless it is tied to the head."""
    return FlopsModel(2.0 * multiplied, 4.0 * a.layers * a.attended)


def cost_of(s: Setting) -> Cost:
    """The cost of a round, the number of rounds within the budget, and the cost of the run."""
    schedule, own, model = s.schedule, s.config.max_new_tokens, flops_of(s)
    rows = schedule.prompts * schedule.group_size
    lengths, live = [s.prompt + own] * rows, schedule.source != "initial"
    rollout = model.explore([s.prompt] * schedule.prompts, [[own] * schedule.group_size] * schedule.prompts)
    rollout = rollout if s.sampled else model.annotate(lengths)
    update = model.update(lengths)
    each = rollout + (schedule.epochs * update if live else 0.0)
    first = rollout + (schedule.epochs * model.update(lengths, frozen=True) if live else 0.0)
    budget, (rate, source) = Budget.parse(s.config.budget), rate_of(s)
    paid = budget if live else _sampling(budget, schedule)
    units = {
        "prompts": float(schedule.prompts),
        "completions": float(rows),
        "generated_tokens": float(rows * own),
        "trained_tokens": float(rows * own * schedule.epochs),
        "updates": float(schedule.updates),
    }
    scale = {"flops": 1.0, "device_seconds": 1.0 / rate if rate else math.inf}.get(paid.unit)
    costs = (units[paid.unit],) * 2 if scale is None else (first * scale, each * scale)
    cost = Cost(
        s.architecture.parameters,
        rows * own if s.sampled else 0,
        rows * own * schedule.epochs,
        each,
        rate=rate,
        source=source,
    )
    if math.isinf(costs[1]):
        return cost
    rounds = _rounds(paid.limit, *costs, schedule.critic_warmup if live else 0)
    if live and schedule.rounds is not None:
        rounds = min(rounds, schedule.rounds)
    warmup = min(rounds, schedule.critic_warmup)
    total = warmup * first + (rounds - warmup) * each
    if not live:
        total += _after(s, budget, rounds, update, (rate or 0.0))
    return replace(cost, rounds=rounds, flops=total, seconds=total / rate if rate else None)


def _sampling(budget: Budget, schedule: Schedule) -> Budget:
    """The part of the budget that sampling may spend before training."""
    return sampling_budget(budget, schedule.prompts, schedule.sampling_fraction)


def _rounds(limit: float, first: float, later: float, warmup: int) -> float:
    """The number of rounds within `limit`, `warmup` of them at the cost of the first."""
    return limit / first if limit <= warmup * first else warmup + (limit - warmup * first) / later


def _after(s: Setting, budget: Budget, rounds: float, a_pass: float, rate: float) -> float:
    """FLOPs of training after sampling, if every completion is kept: `epochs` passes over all rounds; one pass where
    the budget is in updates or trained tokens; the rest of the budget where sampling and training share it."""
    if budget.unit in SHARED:
        return budget.limit * (1 - s.schedule.sampling_fraction) * (1.0 if budget.unit == "flops" else rate)
    return rounds * a_pass * (1 if budget.unit in FILLED else s.schedule.epochs)


def rate_of(s: Setting) -> tuple[float | None, str]:
    """FLOPs per second of the newest finished run of this model on this kind of device, under OUT; and its folder."""
    runs = [(written_at(folder), _rate(r), str(folder)) for folder, r in _records(Path(s.config.out)) if _fits(r, s)]
    if not runs:
        return None, ""
    _, rate, folder = max(runs)
    return rate, folder


def _records(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in run_folders(out) if out.is_dir() else []:
        try:
            record = raw_record(folder)
        except ValueError:
            continue
        if record is not None:
            yield folder, record


def _fits(record: dict[str, Any], s: Setting) -> bool:
    """Is it a finished run of this model on this kind of device, with a spend?"""
    try:
        config, spend = record["config"], record["spend"]
        same_device = str(record["environment"]["device"]).startswith("cuda") == s.cuda
        same_model = config["model"] == s.config.model and record["status"] == "finished"
        return bool(same_device and same_model and spend["flops"] > 0 and spend["device_seconds"] > 0)
    except (KeyError, TypeError):
        return False


def _rate(record: dict[str, Any]) -> float:
    rate = float(record["spend"]["flops"]) / float(record["spend"]["device_seconds"])
    return rate if math.isfinite(rate) else 0.0


def recorded_length(out: Path, model: str, task: str, algo: str) -> float | None:
    """Mean tokens of a completion over all finished runs of this model and task under OUT: those of the algorithm, or
    of any where it has none.  None where no such run has finished."""
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _, record in _records(out):
        try:
            config, spend = record["config"], record["spend"]
            if record["status"] == "finished" and (config["model"], config["task_name"]) == (model, task):
                found[record["algo"] == algo].append((float(spend["generated_tokens"]), float(spend["completions"])))
        except (KeyError, TypeError, ValueError):
            continue
    of = [pair for pair in found[True] or found[False] if min(pair) > 0]
    return sum(t for t, _ in of) / sum(c for _, c in of) if of else None
