"""The figures of a report, for a paper: SVG and PNG, the same bytes for the same records (fixed salt, no dates)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.reports.analysis.summary import Arm, Block, Findings, Interval
from harness.reports.render.text import unit

# Okabe and Ito's colours, then darker ones; with dashes and markers, so that colour is never the only cue
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333", "#8C6D1F", "#5B3A8E")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
SIZE = (6.4, 4.0)  # inches


def draw(findings: Findings, folder: Path) -> list[str]:
    """Write FIGURE.svg and FIGURE.png into the folder; returns the figures' names."""
    import matplotlib

    matplotlib.use("Agg")
    drawn = []
    block = findings.blocks[0]
    drawings: dict[str, Callable[[Any], None]] = {
        "curves": lambda axes: _curves(axes, findings, block),
        "cost": lambda axes: _cost(axes, findings, block),
        "seeds": lambda axes: _seeds(axes, findings, block),
    }
    if findings.at_k:
        drawings["at_k"] = lambda axes: _at_k(axes, findings)
    for name, drawing in drawings.items():
        _save(drawing, folder / name)
        drawn.append(name)
    return drawn


def _save(drawing: Callable[[Any], None], stem: Path) -> None:
    import matplotlib.pyplot as plt

    style: Any = {
        "svg.hashsalt": "harness",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.25,
    }
    style |= {"axes.spines.top": False, "axes.spines.right": False, "font.family": "DejaVu Sans"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
        drawing(axes)
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
        figure.savefig(stem.with_suffix(".png"), dpi=150, metadata={"Software": None})
        plt.close(figure)


def _look(findings: Findings, arm: str) -> dict[str, Any]:
    """An arm looks the same in every figure."""
    i = list(findings.arms).index(arm)
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
    }


def _ends(mean: float, interval: Interval) -> tuple[float, float]:
    low, high = interval or (mean, mean)
    return max(0.0, 100 * low), min(100.0, 100 * high)  # a t-interval knows no bounds, an accuracy does


def _curves(axes: Any, findings: Findings, block: Block) -> None:
    """Endpoint accuracy against the budget, with t-intervals over seeds as bands."""
    name = str(findings.results.one.record["budget"]["unit"])
    for arm in (findings.arms[a] for a in block.arms):
        curve, x = arm.curves[findings.endpoint.name], arm.spend_F[name]
        look = _look(findings, arm.name)
        axes.plot(x, [100 * y for y in curve.mean_F], label=arm.name, markersize=4, linewidth=1.4, **look)
        bands = [_ends(y, i) for y, i in zip(curve.mean_F, curve.interval_F, strict=True)]
        axes.fill_between(x, [b[0] for b in bands], [b[1] for b in bands], alpha=0.13, color=look["color"], linewidth=0)
    axes.set_xlabel(unit(name))
    _accuracy(axes, findings)
    axes.legend(frameon=False, fontsize=8)


def _accuracy(axes: Any, findings: Findings) -> None:
    axes.set_ylabel(f"{findings.endpoint.name}, strict, {findings.endpoint.decoding} (%)")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x < 1e9 else f"{x:.1e}")


def _cost(axes: Any, findings: Findings, block: Block) -> None:
    """Endpoint accuracy against FLOPs, the cost that no machine decides."""
    for arm in (findings.arms[a] for a in block.arms):
        low, high = _ends(arm.mean, arm.interval)
        x, y = arm.spend_F["flops"][-1] / 1e12, 100 * arm.mean
        look = _look(findings, arm.name) | {"linestyle": "none"}
        axes.errorbar(x, y, [[y - low], [high - y]], capsize=3, markersize=6, label=arm.name, **look)
    axes.set_xlabel("TFLOP, by the model's formula")
    axes.set_ylabel(f"{findings.endpoint.name}, strict, {findings.endpoint.decoding} (%)")
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=8)


def _seeds(axes: Any, findings: Findings, block: Block) -> None:
    """Every seed, with the mean and its interval beside it."""
    arms: list[Arm] = [findings.arms[a] for a in block.arms]
    for i, arm in enumerate(arms):
        values = [100 * s.value for s in arm.seeds if s.value is not None]
        look = _look(findings, arm.name) | {"linestyle": "none"}
        spread = [i + 0.24 * (k / max(len(values) - 1, 1) - 0.5) for k in range(len(values))]
        axes.plot(spread, values, alpha=0.6, markersize=4, **look)
        low, high = _ends(arm.mean, arm.interval)
        axes.vlines(i + 0.25, low, high, color=look["color"], linewidth=1.6)
        axes.plot([i + 0.25], [100 * arm.mean], markersize=6, **look)
    axes.set_xticks(
        range(len(arms)),
        [arm.name for arm in arms],
        rotation=25 if len(arms) > 4 else 0,
        ha="right" if len(arms) > 4 else "center",
    )
    axes.set_ylabel(f"{findings.endpoint.name}, strict, {findings.endpoint.decoding} (%)")


def _at_k(axes: Any, findings: Findings) -> None:
    """pass@K and maj@K against K, of the start model and every arm; the band is the interval of arm - start."""
    first = findings.at_k[0].task
    for kind, line in (("pass", "-"), ("maj", "--")):
        curve = [x for x in findings.at_k if (x.task, x.kind) == (first, kind)]
        ks = [x.k for x in curve]
        start = [100 * x.start for x in curve if x.start is not None]
        if start:
            axes.plot(ks, start, line, color="#777777", linewidth=1.8, label=f"start, {kind}@K")
        for arm in curve[0].mean if curve else ():
            look = _look(findings, arm) | {"linestyle": line}
            axes.plot(
                ks, [100 * x.mean[arm] for x in curve], label=f"{arm}, {kind}@K", markersize=4, linewidth=1.2, **look
            )
            ends = [x.gain[arm][1] if arm in x.gain else None for x in curve]
            if start and all(ends):
                low, high = ([y + 100 * e[i] for y, e in zip(start, ends, strict=True) if e] for i in (0, 1))
                axes.fill_between(ks, low, high, alpha=0.12, color=look["color"], linewidth=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel("K")
    axes.set_ylabel(f"{first} (%)")
    axes.legend(frameon=False, fontsize=7)
