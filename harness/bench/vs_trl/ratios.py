"""From pairs of steps to ratios, rows and a table: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.bench import results

PHASES = ("rollout", "update", "end_to_end")

Step = Mapping[str, Any]  # the reply of a side: seconds by phase, tokens, bytes
Pair = Mapping[str, Step]  # {"ours": step, "peer": step}


def ratios(pairs: Sequence[Pair], phase: str, per_token: bool = False) -> list[float]:
    """The peer's seconds / ours, pair by pair; `per_token`: of seconds per completion token.

    >>> pair = {"ours": {"update": 2.0, "tokens": 100}, "peer": {"update": 6.0, "tokens": 200}}
    >>> ratios([pair], "update"), ratios([pair], "update", per_token=True)
    ([3.0], [1.5])
    """
    raw = [p["peer"][phase] / p["ours"][phase] for p in pairs]
    return [r * p["ours"]["tokens"] / p["peer"]["tokens"] if per_token else r for r, p in zip(raw, pairs, strict=True)]


def compare_pairs(pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """By phase: medians of both sides' seconds, of their seconds per 1000 completion tokens, and of the ratios."""
    phases: dict[str, dict[str, Any]] = {}
    for phase in PHASES:
        row: dict[str, Any] = {}
        for side in ("ours", "peer"):
            row[side] = results.middle([p[side][phase] for p in pairs])
            row[f"{side}_per_1000_tokens"] = results.middle([1000 * p[side][phase] / p[side]["tokens"] for p in pairs])
        raw, per_token = ratios(pairs, phase), ratios(pairs, phase, per_token=True)
        row |= {"ratio": results.middle(raw), "spread": results.spread(raw)}
        row |= {"ratio_per_token": results.middle(per_token), "spread_per_token": results.spread(per_token)}
        phases[phase] = row
    return phases


def memory_ratio(pairs: Sequence[Pair]) -> float:
    """Our peak / the peer's, at the last pair."""
    return float(pairs[-1]["ours"]["growth_bytes"] / pairs[-1]["peer"]["growth_bytes"])


def fastest(entries: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The mode with the least median ratio end to end; None where none ran.

    Not the least seconds: modes are timed one after another, and the machine's speed may change in between.  A ratio
    compares neighbouring steps.
    """
    ran = [entry for entry in entries if entry["reason"] is None]
    return min(ran, key=lambda entry: float(entry["phases"]["end_to_end"]["ratio"]), default=None)


def rows_of(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per phase, against the peer's fastest mode; none where the peer never ran."""
    best = fastest(case["modes"])
    if best is None:
        return []
    head = {"case": case["case"], "beta": case["beta"]}
    tail = {"memory_ratio": best["memory_ratio"], "peer_mode": best["mode"]}
    columns = ("ratio", "spread", "ratio_per_token")
    return [{**head, "phase": p, **{k: best["phases"][p][k] for k in columns}, **tail} for p in PHASES]


def render(cases: Sequence[Mapping[str, Any]]) -> str:
    """One table per case: seconds per step, ratios, peak memory; `*` marks the fastest mode."""
    header = ["", "ours s", "peer s", "rollout", "update", "end to end", "spread", "per token", "tokens", "memory"]
    parts = []
    for case in cases:
        rows = [_line(entry, entry["mode"] == case["peer_mode"]) for entry in case["modes"]]
        parts.append(f"{case['case']}, beta {case['beta']:g}\n{results.table(header, rows)}")
    return "\n\n".join(parts)


def _line(entry: Mapping[str, Any], best: bool) -> list[str]:
    name = f"{entry['mode']}{' *' if best else ''}"
    if entry["reason"] is not None:
        return [f"{name}: did not run", *[""] * 9]
    phases = entry["phases"]
    total = phases["end_to_end"]
    tokens = [results.middle([p[side]["tokens"] for p in entry["pairs"]]) for side in ("ours", "peer")]
    return [
        name,
        f"{total['ours']:.2f}",
        f"{total['peer']:.2f}",
        *(f"{phases[p]['ratio']:.2f}" for p in PHASES),
        f"{total['spread'][0]:.2f}-{total['spread'][1]:.2f}",
        f"{total['ratio_per_token']:.2f}",
        "/".join(f"{n:.0f}" for n in tokens),
        f"{entry['memory_ratio']:.2f}",
    ]
