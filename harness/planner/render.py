"""A plan as a person reads it: a table of parts by phase, the peak, the cost, and what makes it fit; and as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from harness.accounting.format import clock, count, flops, size
from harness.planner.compute import Cost
from harness.planner.memory import PARTS, Plan
from harness.planner.suggestions import Lever, enough, least, single

NAMES = {"kv_cache": "KV cache"}


def said(plan: Plan, cost: Cost, limit: float | None) -> str:
    """Every line, without a trailing newline."""
    s = plan.setting
    how = "bf16 autocast" if s.numbers.casts else f"fp{8 * s.numbers.master}"
    head = [
        f"{s.config.algo_name}, {s.config.model}: {count(cost.parameters)} parameters, {s.device}, {how}",
        f"{s.schedule.prompts} prompts x {s.schedule.group_size} completions a round, {s.prompt} + "
        f"{s.config.max_new_tokens} tokens, all at their limit",
        *plan.notes,
        "",
    ]
    lines = [*head, *table(plan), "", f"peak {size(plan.peak)}, in {plan.worst.name} ({plan.worst.moment})"]
    lines += ["", *costs(plan, cost)]
    if limit is not None:
        lines += ["", *fitting(plan, limit)]
    return "\n".join(lines)


def table(plan: Plan) -> list[str]:
    """Parts by phase; a part that no phase has is left out."""
    rows = [["part", *(phase.name for phase in plan.phases)]]
    for part in PARTS:
        values = [phase.parts[part] for phase in plan.phases]
        if any(round(v) for v in values):
            rows.append([NAMES.get(part, part.replace("_", " ")), *(size(v) if round(v) else "-" for v in values)])
    rows.append(["total", *(size(phase.bytes) for phase in plan.phases)])
    rows.append(["fullest at", *(phase.moment for phase in plan.phases)])
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(wide[0]), *(cell.rjust(w) for cell, w in zip(row[1:], wide[1:], strict=True))])
        for row in rows
    ]


def costs(plan: Plan, cost: Cost) -> list[str]:
    """A round's FLOPs and tokens; the budget's rounds, FLOPs, and seconds where a finished run tells a rate."""
    s = plan.setting
    budget = f"budget {s.config.budget}"
    lines = [f"a round: {flops(cost.round_flops)}, {count(cost.round_tokens)} tokens generated"]
    if s.schedule.source != "start":
        lines[0] += f", {count(cost.round_trained)} trained"
    if cost.rounds is None or cost.flops is None:
        return [*lines, f"{budget}: no finished run of this model under {s.config.out} tells how fast a round is"]
    what = "rounds" if s.schedule.source != "start" else "rounds of sampling, training after them"
    lines.append(f"{budget}: {_rounds(cost.rounds)} {what}, {flops(cost.flops)}")
    if cost.seconds is not None:
        lines.append(f"time: {clock(cost.seconds)}, at {flops(cost.rate)}/s as in {cost.source}")
    return lines


def _rounds(x: float) -> str:
    return count(math.floor(x + 1e-9)) if x >= 1 else "less than one of its"


def fitting(plan: Plan, limit: float) -> list[str]:
    """Whether it fits; if not, each lever with what it saves, and the smallest set that is enough."""
    if plan.peak <= limit:
        return [f"fits in {size(limit)}, with {size(limit - plan.peak)} to spare"]
    lines = [f"does not fit in {size(limit)}: {size(plan.peak - limit)} too many"]
    lines += [f"  {lever.typed}  saves {size(lever.saved)}" for lever in single(plan)]
    found = enough(plan, limit)
    if found is not None:
        return [*lines, f"fits with {found.typed}: {size(plan.peak - found.saved)}"]
    most = least(plan)
    reached = plan.peak - (most.saved if most is not None else 0.0)
    return [*lines, f"does not fit with all of them: {size(min(reached, plan.peak))}"]


def as_dict(plan: Plan, cost: Cost, limit: float | None) -> dict[str, Any]:
    """For a machine: bytes, FLOPs and counts, unrounded."""
    found = enough(plan, limit) if limit is not None and plan.peak > limit else None
    return {
        "model": plan.setting.config.model,
        "algo": plan.setting.config.algo_name,
        "device": plan.setting.device,
        "known": plan.setting.anatomy.known,
        "phases": {
            p.name: {"bytes": round(p.bytes), "moment": p.moment, "parts": _whole(p.parts)} for p in plan.phases
        },
        "peak_bytes": round(plan.peak),
        "cost": dataclasses.asdict(cost),
        "limit_bytes": limit,
        "fits": None if limit is None else plan.peak <= limit,
        "levers": [] if limit is None or plan.peak <= limit else [_lever(x) for x in single(plan)],
        "enough": None if found is None else _lever(found),
        "notes": list(plan.notes),
    }


def _whole(parts: dict[str, float]) -> dict[str, int]:
    return {name: round(x) for name, x in parts.items()}


def _lever(lever: Lever) -> dict[str, Any]:
    return {"set": list(lever.words), "saved_bytes": round(lever.saved)}
