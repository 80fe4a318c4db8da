"""A plan as text (a table of parts by phase, the peak, the cost, suggestions to make it fit) and as JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from harness.accounting.format import clock, count, flops, size
from harness.planner.compute import Cost
from harness.planner.memory import PARTS, Plan
from harness.planner.suggestions import Suggestion, all_together, each_alone, smallest_set

NAMES = {"kv_cache": "KV cache", "critic": "value model"}


@dataclass(frozen=True)
class TimeLine:
    """How long the run will take, in words, and in seconds where they are known."""

    text: str
    seconds: float | None = None


def as_text(plan: Plan, cost: Cost, limit: float | None, time: TimeLine | None = None) -> str:
    """Every line, without a trailing newline.  `time`: what is known better than from finished runs."""
    s = plan.setting
    precision = "bf16 autocast" if s.numbers.casts else f"fp{8 * s.numbers.master}"
    head = [
        f"{s.config.algo_name}, {s.config.model}: {count(cost.parameters)} parameters, {s.device}, {precision}",
        f"{s.schedule.prompts} prompts x {s.schedule.group_size} completions per round, {s.prompt} + "
        f"{s.config.max_new_tokens} tokens, all at their limit",
        *plan.notes,
        "",
    ]
    lines = [*head, *table(plan), "", f"peak {size(plan.peak)}, in {plan.worst.name} ({plan.worst.moment})"]
    lines += ["", *costs(plan, cost, time)]
    if limit is not None:
        lines += ["", *fitting(plan, limit)]
    return "\n".join(lines)


def table(plan: Plan) -> list[str]:
    """Parts by phase; parts of zero bytes are left out."""
    rows = [["part", *(phase.name for phase in plan.phases)]]
    for part in PARTS:
        values = [phase.parts[part] for phase in plan.phases]
        if any(round(v) for v in values):
            rows.append([NAMES.get(part, part.replace("_", " ")), *(size(v) if round(v) else "-" for v in values)])
    rows.append(["total", *(size(phase.bytes) for phase in plan.phases)])
    rows.append(["peak at", *(phase.moment for phase in plan.phases)])
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(wide[0]), *(cell.rjust(w) for cell, w in zip(row[1:], wide[1:], strict=True))])
        for row in rows
    ]


def costs(plan: Plan, cost: Cost, time: TimeLine | None = None) -> list[str]:
    """FLOPs and tokens per round; rounds, FLOPs and seconds of the budget, seconds only where they are known."""
    s = plan.setting
    budget = f"budget {s.config.budget}"
    lines = [f"per round: {flops(cost.round_flops)}, {count(cost.round_tokens)} tokens generated"]
    if s.schedule.source != "initial":
        lines[0] += f", {count(cost.round_trained)} trained"
    if cost.rounds is None or cost.flops is None:
        unknown = f"{budget}: no finished run of this model under {s.config.out}, so no rate to estimate from"
        return [*lines, *([f"time: {time.text}"] if time else [unknown])]
    what = "rounds" if s.schedule.source != "initial" else "rounds of sampling, then training"
    lines.append(f"{budget}: {_rounds(cost.rounds)} {what}, {flops(cost.flops)}")
    if time is not None and (time.seconds is not None or cost.seconds is None):
        lines.append(f"time: {time.text}")
    elif cost.seconds is not None:
        lines.append(f"time: {clock(cost.seconds)}, at {flops(cost.rate)}/s as in {cost.source}")
    return lines


def _rounds(x: float) -> str:
    return count(math.floor(x + 1e-9)) if x >= 1 else "less than one of the"


def fitting(plan: Plan, limit: float) -> list[str]:
    """Whether it fits; if not, each change with its saving, and the smallest set of changes that is enough."""
    if plan.peak <= limit:
        return [f"fits in {size(limit)}, with {size(limit - plan.peak)} to spare"]
    lines = [f"does not fit in {size(limit)}: {size(plan.peak - limit)} too many"]
    lines += [f"  {suggestion.typed}  saves {size(suggestion.saved)}" for suggestion in each_alone(plan)]
    smallest = smallest_set(plan, limit)
    if smallest is not None:
        return [*lines, f"fits with {smallest.typed}: {size(plan.peak - smallest.saved)}"]
    most = all_together(plan)
    reached = plan.peak - (most.saved if most is not None else 0.0)
    return [*lines, f"does not fit with all of them: {size(min(reached, plan.peak))}"]


def as_dict(plan: Plan, cost: Cost, limit: float | None, time: TimeLine | None = None) -> dict[str, Any]:
    """As plain data: bytes, FLOPs and counts, not rounded."""
    smallest = smallest_set(plan, limit) if limit is not None and plan.peak > limit else None
    return {
        "model": plan.setting.config.model,
        "algo": plan.setting.config.algo_name,
        "device": plan.setting.device,
        "known": plan.setting.architecture.known,
        "phases": {
            p.name: {"bytes": round(p.bytes), "moment": p.moment, "parts": _whole(p.parts)} for p in plan.phases
        },
        "peak_bytes": round(plan.peak),
        "cost": dataclasses.asdict(cost),
        "time": None if time is None else dataclasses.asdict(time),
        "limit_bytes": limit,
        "fits": None if limit is None else plan.peak <= limit,
        "levers": [] if limit is None or plan.peak <= limit else [_suggestion_dict(x) for x in each_alone(plan)],
        "enough": None if smallest is None else _suggestion_dict(smallest),
        "notes": list(plan.notes),
    }


def _whole(parts: dict[str, float]) -> dict[str, int]:
    return {name: round(x) for name, x in parts.items()}


def _suggestion_dict(suggestion: Suggestion) -> dict[str, Any]:
    return {"set": list(suggestion.words), "saved_bytes": round(suggestion.saved)}
