"""What a completion costs as groups, lengths and rounds grow: seconds and FLOPs, and the exponents fitted to them.

cost ~ size ** exponent      least squares in logarithms; 0: it costs no more, 1: in proportion
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.bench import model_shapes, results, workload
from harness.bench.workload import Cell, Options

Say = Callable[[str], None]
SIZES: dict[str, tuple[int, ...]] = {
    "group_size": (4, 8, 16, 32, 64),
    "max_new_tokens": (64, 128, 256, 512, 1024, 2048),
    "prompts": (8, 16, 32, 64, 128, 256),
}


def bench(options: Options, say: Say) -> Path:
    """One axis at a time from the options' shape, as far as a round generates no more than `most` tokens; writes
    OUT/scale-MODEL.json after each size: `partial` until the last."""
    context = int(model_shapes.SHAPES[options.model].get("max_position_embeddings", 256))
    rows: list[dict[str, Any]] = []
    where = options.device, 0

    def written(partial: bool) -> Path:
        found = {"model": options.model, "partial": partial, "rows": rows, "exponents": exponents(rows)}
        return results.write(options.out, f"scale-{options.model}", {**results.surroundings(*where), **found})

    with tempfile.TemporaryDirectory() as scratch:
        folder = model_shapes.folder(options.model, Path(scratch) / options.model)
        for arm, axis in ((arm, axis) for arm in options.arms or ("grpo",) for axis in SIZES):
            for size in SIZES[axis]:
                wanted: dict[str, Any] = {axis: size}
                one = replace(options.cell(arm, folder), **wanted)
                room = one.max_new_tokens + max(one.prompt_tokens, 32) <= context
                if room and one.prompts * one.group_size * one.max_new_tokens <= options.most:
                    measured = workload.run(one)
                    where = measured["device"], measured["threads"]
                    rows.append({"arm": arm, "axis": axis, "size": size, **costs(one, measured)})
                    say(f"{arm} {axis}={size}: {1e3 * float(rows[-1]['seconds']):.2f} ms a completion")
                    written(partial=True)
    file = written(partial=False)
    say("\n" + table(exponents(rows)) + f"\n{file}")
    return file


def costs(one: Cell, measured: dict[str, Any]) -> dict[str, float]:
    """Of a completion: seconds, by phase and whole, and FLOPs."""
    count = one.prompts * one.group_size
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
    """One an arm and axis, of seconds, FLOPs and each phase; axes with fewer than three sizes are left out."""
    found = []
    for arm, axis in dict.fromkeys((r["arm"], r["axis"]) for r in rows):
        here = [r for r in rows if (r["arm"], r["axis"]) == (arm, axis)]
        if len(here) < 3:
            continue
        sizes = [r["size"] for r in here]
        named = [k for k, v in here[0].items() if isinstance(v, float) and all(r.get(k, 0) > 0 for r in here)]
        fit = {k: exponent(sizes, [r[k] for r in here]) for k in named}
        found.append({"arm": arm, "axis": axis, "sizes": sizes, **fit})
    return found


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
    return results.table(["cost a completion", "sizes", *shown], rows)
