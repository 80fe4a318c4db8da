"""Cost per completion by group size, length and prompts per round: seconds and FLOPs, and fitted exponents.

cost ~ size ** exponent      least squares in logarithms; 0: constant, 1: proportional
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.bench import model_shapes, results, workload
from harness.bench.workload import Options, Workload

Say = Callable[[str], None]
SIZES: dict[str, tuple[int, ...]] = {
    "group_size": (4, 8, 16, 32, 64),
    "max_new_tokens": (64, 128, 256, 512, 1024, 2048),
    "prompts": (8, 16, 32, 64, 128, 256),
}


def bench(options: Options, say: Say) -> Path:
    """Vary one axis at a time from the options' shape, up to `most` generated tokens per round; write
    OUT/scale-MODEL.json after each size, `partial` until the last."""
    context = int(model_shapes.SHAPES[options.model].get("max_position_embeddings", 256))
    rows: list[dict[str, Any]] = []
    machine = options.device, 0

    def write(partial: bool) -> Path:
        record = {"model": options.model, "partial": partial, "rows": rows, "exponents": exponents(rows)}
        return results.write(options.out, f"scale-{options.model}", {**results.surroundings(*machine), **record})

    with tempfile.TemporaryDirectory() as scratch:
        folder = model_shapes.folder(options.model, Path(scratch) / options.model)
        for arm, axis in ((arm, axis) for arm in options.arms or ("grpo",) for axis in SIZES):
            for size in SIZES[axis]:
                size_field: dict[str, Any] = {axis: size}
                work = replace(options.workload(arm, folder), **size_field)
                fits = work.max_new_tokens + max(work.prompt_tokens, 32) <= context
                if fits and work.prompts * work.group_size * work.max_new_tokens <= options.most:
                    measured = workload.run(work)
                    machine = measured["device"], measured["threads"]
                    rows.append({"arm": arm, "axis": axis, "size": size, **costs(work, measured)})
                    say(f"{arm} {axis}={size}: {1e3 * float(rows[-1]['seconds']):.2f} ms per completion")
                    write(partial=True)
    file = write(partial=False)
    say("\n" + table(exponents(rows)) + f"\n{file}")
    return file


def costs(work: Workload, measured: dict[str, Any]) -> dict[str, float]:
    """Per completion: seconds, by phase and in total, and FLOPs."""
    count = work.prompts * work.group_size
    phases = {p: results.middle([t["seconds"] for t in turns]) / count for p, turns in measured["turns"].items()}
    return {"seconds": sum(phases.values()), "flops": measured["flops_a_round"] / count, **phases}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of log value over log size.

    >>> exponent([1, 2, 4], [3, 6, 12])
    1.0
    """
    x, y = [math.log(s) for s in sizes], [math.log(v) for v in values]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
    return round(slope, 12)


def exponents(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One per arm and axis, of seconds, FLOPs and each phase; axes with fewer than three sizes are left out."""
    fits = []
    for arm, axis in dict.fromkeys((r["arm"], r["axis"]) for r in rows):
        points = [r for r in rows if (r["arm"], r["axis"]) == (arm, axis)]
        if len(points) < 3:
            continue
        sizes = [r["size"] for r in points]
        costs = [k for k, v in points[0].items() if isinstance(v, float) and all(r.get(k, 0) > 0 for r in points)]
        fit = {k: exponent(sizes, [r[k] for r in points]) for k in costs}
        fits.append({"arm": arm, "axis": axis, "sizes": sizes, **fit})
    return fits


def table(fitted: Sequence[dict[str, Any]]) -> str:
    shown = ("seconds", "flops", "rollout", "update")
    rows = [
        [
            f"{f['arm']} {f['axis']}",
            f"{f['sizes'][0]}..{f['sizes'][-1]}",
            *(f"{f[k]:+.2f}" if k in f else "-" for k in shown),
        ]
        for f in fitted
    ]
    return results.table(["cost per completion", "sizes", *shown], rows)
