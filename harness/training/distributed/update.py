"""What the ranks found in their shares of one update, together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from harness.processes.group import current


def together(
    sums: Mapping[str, float], largest_gap: float | None, flops: float
) -> tuple[dict[str, float], float | None, float]:
    """Sums of metrics (each is a part of one over the whole update's totals), the largest gap, and the FLOPs.

    In the order of ranks, so that every rank has the same bits.
    """
    parts = current().gather((dict(sums), largest_gap, flops))
    whole: defaultdict[str, float] = defaultdict(float)
    for own, _, _ in parts:
        for name, value in own.items():
            whole[name] += value
    gaps = [gap for _, gap, _ in parts if gap is not None]
    return dict(whole), max(gaps, default=None), sum(cost for *_, cost in parts)
