"""The figures of a report as SVG and PNG: the same bytes for the same records (fixed salt, no dates).

An element whose gid begins with TITLE becomes an SVG <title>, which browsers show when the pointer is over it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.accounting.format import point, without_controls
from harness.reports.analysis.summary import ArmSummary, Block, Findings, Interval
from harness.reports.render.text import bracket, points, unit

# Okabe and Ito's colours, then darker ones; with dashes and markers, so that colour is never the only cue
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333", "#8C6D1F", "#5B3A8E")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
SIZE = (6.4, 4.0)  # inches
TITLE = "title: "
CAPTIONS = {
    "curves": "Accuracy against the budget; bands are 95 % t-intervals over seeds.",
    "cost": "Final accuracy against FLOPs; bars are 95 % t-intervals over seeds.",
    "at_k": "Final pass@K (solid) and maj@K (dashed) at temperature 1; bands are 95 % t-intervals of arm - start.",
    "seeds": "Final accuracy of every seed; beside them the mean and its 95 % t-interval.",
}


def draw(findings: Findings, folder: Path) -> dict[str, str]:
    """Write FIGURE.svg and FIGURE.png into the folder; returns the text of each SVG by the figure's name."""
    import matplotlib

    matplotlib.use("Agg")
    block = findings.blocks[0]
    drawings: dict[str, Callable[[Any], None]] = {
        "curves": lambda axes: _curves(axes, findings, block),
        "cost": lambda axes: _cost(axes, findings, block),
        "seeds": lambda axes: _seeds(axes, findings, block),
    }
    if any(math.isnan(findings.arms[arm].spend_F["flops"][-1]) for arm in block.arms):
        del drawings["cost"]  # an imported run does not know its FLOPs
    if findings.at_k:
        drawings["at_k"] = lambda axes: _at_k(axes, findings)
    return {name: _save(drawing, folder / name) for name, drawing in drawings.items()}


def _save(drawing: Callable[[Any], None], stem: Path) -> str:
    import matplotlib.pyplot as plt

    style: Any = {
        "svg.hashsalt": "harness",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "text.parse_math": False,  # a name with a dollar sign is a name
    }
    style |= {"axes.spines.top": False, "axes.spines.right": False, "font.family": "DejaVu Sans"}
    buffer = io.StringIO()
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
        drawing(axes)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        figure.savefig(stem.with_suffix(".png"), dpi=150, metadata={"Software": None})
        plt.close(figure)
    svg = re.sub(rf'<g id="{TITLE}([^"]*)">', r"<g><title>\1</title>", without_controls(buffer.getvalue()))
    stem.with_suffix(".svg").write_text(svg, encoding="utf-8")
    return svg


def colour(findings: Findings, arm: str) -> str:
    """An arm has the same colour in every figure and table."""
    return COLOURS[list(findings.arms).index(arm) % len(COLOURS)]


def _style(findings: Findings, arm: str) -> dict[str, Any]:
    i = list(findings.arms).index(arm)
    line = {"linestyle": DASHES[i % len(DASHES)], "marker": MARKERS[i % len(MARKERS)]}
    return {"color": colour(findings, arm), **line}


def _clip(mean: float, interval: Interval) -> tuple[float, float]:
    """An interval in percent, cut off at 0 and 100: a t-interval may exceed them."""
    low, high = interval or (mean, mean)
    return max(0.0, 100 * low), min(100.0, 100 * high)


def _measured(mean: float, interval: Interval) -> str:
    return f"{points(mean)}{f' {bracket(interval)}' if interval else ''}"


def _curves(axes: Any, findings: Findings, block: Block) -> None:
    """Endpoint accuracy against the budget, with t-intervals over seeds as bands."""
    budget = str(findings.results.example.record["budget"]["unit"])
    places = [point(f) for f in findings.results.fractions]
    for arm in (findings.arms[a] for a in block.arms):
        curve, x = arm.curves[findings.endpoint.name], arm.spend_F[budget]
        values = list(zip(curve.mean_F, curve.interval_F, strict=True))
        title = "\n".join([arm.name, *(f"{p}: {_measured(*v)}" for p, v in zip(places, values, strict=True))])
        style = _style(findings, arm.name) | {"markersize": 4, "linewidth": 1.4}
        axes.plot(x, [100 * y for y in curve.mean_F], label=arm.name, gid=TITLE + title, **style)
        low, high = zip(*(_clip(*value) for value in values), strict=True)
        axes.fill_between(x, low, high, alpha=0.13, color=style["color"], linewidth=0)
    axes.set_xlabel(unit(budget))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x < 1e9 else f"{x:.1e}")
    _label_accuracy(axes, findings)
    axes.legend(frameon=False, fontsize=8)


def _label_accuracy(axes: Any, findings: Findings) -> None:
    axes.set_ylabel(f"{findings.endpoint.name}, strict, {findings.endpoint.decoding} (%)")


def _cost(axes: Any, findings: Findings, block: Block) -> None:
    """Endpoint accuracy against FLOPs, a cost that does not depend on the machine."""
    for arm in (findings.arms[a] for a in block.arms):
        low, high = _clip(arm.mean, arm.interval)
        x, y = arm.spend_F["flops"][-1] / 1e12, 100 * arm.mean
        style = _style(findings, arm.name) | {"linestyle": "none", "markersize": 6}
        title = f"{arm.name}: {_measured(arm.mean, arm.interval)}, {x:.4g} TFLOP"
        axes.errorbar(x, y, [[y - low], [high - y]], capsize=3, label=arm.name, gid=TITLE + title, **style)
    axes.set_xlabel("TFLOP, by the model's formula")
    _label_accuracy(axes, findings)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=8)


def _seeds(axes: Any, findings: Findings, block: Block) -> None:
    """Every seed; beside them the mean and its interval."""
    arms: list[ArmSummary] = [findings.arms[a] for a in block.arms]
    for i, arm in enumerate(arms):
        finished = [(s.seed, s.value) for s in arm.seeds if s.value is not None]
        style = _style(findings, arm.name) | {"linestyle": "none"}
        for k, (seed, value) in enumerate(finished):
            x, title = i + 0.24 * (k / max(len(finished) - 1, 1) - 0.5), f"{arm.name}, seed {seed}: {points(value)}"
            axes.plot([x], [100 * value], alpha=0.6, markersize=4, gid=TITLE + title, **style)
        low, high = _clip(arm.mean, arm.interval)
        axes.vlines(i + 0.25, low, high, color=style["color"], linewidth=1.6)
        title = f"{arm.name}: mean {_measured(arm.mean, arm.interval)}"
        axes.plot([i + 0.25], [100 * arm.mean], markersize=6, gid=TITLE + title, **style)
    crowded = len(arms) > 4
    names = [arm.name for arm in arms]
    axes.set_xticks(range(len(arms)), names, rotation=25 if crowded else 0, ha="right" if crowded else "center")
    _label_accuracy(axes, findings)


def _at_k(axes: Any, findings: Findings) -> None:
    """pass@K and maj@K against K, of the start model and every arm; the band is the interval of arm - start."""
    task = findings.at_k[0].task
    for kind, line in (("pass", "-"), ("maj", "--")):
        curve = [x for x in findings.at_k if (x.task, x.kind) == (task, kind)]
        ks = [x.k for x in curve]
        start = [100 * x.start for x in curve if x.start is not None]
        if start:
            axes.plot(ks, start, line, color="#777777", linewidth=1.8, label=f"start, {kind}@K")
        for arm in curve[0].mean if curve else ():
            style = _style(findings, arm) | {"linestyle": line, "markersize": 4, "linewidth": 1.2}
            title = "\n".join([arm, *(f"{x.metric}: {points(x.mean[arm])}" for x in curve)])
            axes.plot(ks, [100 * x.mean[arm] for x in curve], label=f"{arm}, {kind}@K", gid=TITLE + title, **style)
            gains = [x.gain[arm][1] if arm in x.gain else None for x in curve]
            if start and all(gains):
                low, high = ([y + 100 * e[i] for y, e in zip(start, gains, strict=True) if e] for i in (0, 1))
                axes.fill_between(ks, low, high, alpha=0.12, color=style["color"], linewidth=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel("K")
    axes.set_ylabel(f"{task} (%)")
    axes.legend(frameon=False, fontsize=7)
