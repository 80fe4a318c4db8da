"""What a run will cost, from configurations alone: FLOPs by harness/flops.py's formula, tokens, and rounds.

Every completion is taken to be at the token limit and every prompt to be as long as the longest: a round costs no more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from algos import Schedule
from harness.accounting.budget import Budget, sampling_budget
from harness.accounting.flops import FlopsModel, RunFlops
from harness.planner.architecture import Anatomy
from harness.planner.memory import Setting, critic_parameters, reward_parameters


@dataclass(frozen=True)
class Cost:
    """Of a round and of the run.  `rounds` and `flops` are None where the budget is in seconds and no record helps."""

    parameters: int
    round_tokens: int  # generated
    round_trained: int
    round_flops: float
    rounds: float | None = None
    flops: float | None = None
    seconds: float | None = None
    rate: float | None = None  # FLOPs a second, of a finished run
    source: str = ""  # whose


def flops_of(s: Setting) -> RunFlops:
    """As the run's own models would say it."""
    policy = _model(s.anatomy, s.anatomy.parameters - (0 if s.anatomy.tied else s.anatomy.embedding))
    critic = None
    if s.schedule.critic == "separate":
        critic = FlopsModel(2.0 * (critic_parameters(s) - s.anatomy.embedding), policy.attention)
    elif s.schedule.critic == "shared":
        critic = FlopsModel(2.0 * critic_parameters(s), 0.0)
    judge = FlopsModel(2.0 * (reward_parameters(s) - s.anatomy.embedding), policy.attention) if s.judged else None
    return RunFlops(policy, policy if "reference" in s.algo.needs else None, critic, judge)


def _model(a: Anatomy, multiplied: int) -> FlopsModel:
    """`multiplied`: parameters that a token meets; an embedding that is no head is looked up, a tied one is both."""
    return FlopsModel(2.0 * multiplied, 4.0 * a.layers * a.attended)


def cost_of(s: Setting) -> Cost:
    """A round, the rounds that the budget pays for, and the run."""
    schedule, own, model = s.schedule, s.config.max_new_tokens, flops_of(s)
    rows = schedule.prompts * schedule.group_size
    lengths, live = [s.prompt + own] * rows, schedule.source != "start"
    explored = model.explore([s.prompt] * schedule.prompts, [[own] * schedule.group_size] * schedule.prompts)
    explored = explored if s.sampled else model.annotate(lengths)
    a_pass = model.update(lengths)
    each = explored + (schedule.epochs * a_pass if live else 0.0)
    first = explored + (schedule.epochs * model.update(lengths, frozen=True) if live else 0.0)
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
        s.anatomy.parameters,
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
        total += _after(s, budget, rounds, a_pass, (rate or 0.0))
    return replace(cost, rounds=rounds, flops=total, seconds=total / rate if rate else None)


def _sampling(budget: Budget, schedule: Schedule) -> Budget:

    return sampling_budget(budget, schedule.prompts, schedule.sampling_share)


def _rounds(limit: float, first: float, later: float, warmup: int) -> float:
    """How many `limit` pays for, `warmup` of them at the price of the first."""
    return limit / first if limit <= warmup * first else warmup + (limit - warmup * first) / later


def _after(s: Setting, budget: Budget, rounds: float, a_pass: float, rate: float) -> float:
    """FLOPs of training after sampling, if every completion is kept: the passes that were asked for over all rounds;
    one pass where the budget is in updates or trained tokens; what sampling leaves where both draw on it."""
    from harness.accounting.budget import FILLED, SHARED

    if budget.unit in SHARED:
        return budget.limit * (1 - s.schedule.sampling_share) * (1.0 if budget.unit == "flops" else rate)
    return rounds * a_pass * (1 if budget.unit in FILLED else s.schedule.epochs)


def rate_of(s: Setting) -> tuple[float | None, str]:
    """FLOPs a second of the newest finished run of this model on this kind of device, under OUT; and its folder."""
    found = [
        (file.stat().st_mtime, _rate(r), str(file.parent)) for file, r in _records(Path(s.config.out)) if _fits(r, s)
    ]
    if not found:
        return None, ""
    _, rate, folder = max(found)
    return rate, folder


def _records(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(out.glob("**/record.json")) if out.is_dir() else []:
        try:
            record = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(record, dict):
            yield file, record


def _fits(record: dict[str, Any], s: Setting) -> bool:
    """A finished run of this model on such a device, which has spent something."""
    try:
        config, spend = record["config"], record["spend"]
        there = str(record["environment"]["device"]).startswith("cuda") == s.cuda
        same = config["model"] == s.config.model and record["status"] == "finished"
        return bool(there and same and spend["flops"] > 0 and spend["device_seconds"] > 0)
    except (KeyError, TypeError):
        return False


def _rate(record: dict[str, Any]) -> float:
    rate = float(record["spend"]["flops"]) / float(record["spend"]["device_seconds"])
    return rate if math.isfinite(rate) else 0.0
