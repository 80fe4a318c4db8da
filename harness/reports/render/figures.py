"""The figures of a report as SVG and PNG: the same bytes for the same records (fixed salt, no dates).

An element whose gid begins with TITLE becomes an SVG <title>, which browsers show when the pointer is over it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness.accounting.format import point, visible, without_controls
from harness.reports.analysis.summary import ArmSummary, Block, Findings, Interval
from harness.reports.palette import styles_of
from harness.reports.render.text import bracket, points, unit

Drawing = Callable[[Any], None]  # into matplotlib's axes
SIZE = (6.4, 4.0)  # inches
NARROW = 5.0  # inches: a column's figure
TITLE = "title: "
CAPTIONS = {
    "curves": "Accuracy against the budget; bands are 95 % t-intervals over seeds.",
    "cost": "Final accuracy against FLOPs; bars are 95 % t-intervals over seeds.",
    "at_k": "Final pass@K (solid) and maj@K (dashed) at temperature 1; bands are 95 % t-intervals of arm - start.",
    "seeds": "Final accuracy of every seed; beside them the mean and its 95 % t-interval.",
}


def names(findings: Findings) -> list[str]:
    """The figures of a report: `curves`, `cost` and `seeds` of the first block, `curves-2` ... of the others."""
    return list(drawings(findings))


def drawings(findings: Findings) -> dict[str, Drawing]:
    """Every figure by its name; one of each kind for each block that has a finished run."""
    kinds = {"curves": curves, "cost": _cost, "seeds": _seeds}
    out: dict[str, Drawing] = {}
    for i, block in enumerate(findings.blocks, 1):
        for kind, drawing in kinds.items():
            counted = not any(math.isnan(findings.arms[arm].spend_F["flops"][-1]) for arm in block.arms)
            if (i == 1 or block.arms) and (kind != "cost" or counted):  # an imported run does not know its FLOPs
                out[name_of(kind, i)] = partial(drawing, findings=findings, block=block)
    if findings.at_k:
        out["at_k"] = partial(_at_k, findings=findings)
    return out


def name_of(kind: str, block: int) -> str:
    """The figure of a block, counted from 1."""
    return kind if block == 1 else f"{kind}-{block}"


def caption(findings: Findings, name: str) -> str:
    """What a figure shows, with its block's name where there are several."""
    kind, _, number = name.partition("-")
    block = findings.blocks[int(number or 1) - 1]
    named = block.name and kind != "at_k" and len(findings.blocks) > 1
    return f"{CAPTIONS[kind][:-1]} ({block.name})." if named else CAPTIONS[kind]


def draw(findings: Findings, folder: Path) -> dict[str, str]:
    """Write FIGURE.svg and FIGURE.png into the folder; returns the text of each SVG by the figure's name."""
    return {name: save(drawing, folder / name) for name, drawing in drawings(findings).items()}


def save(
    drawing: Drawing,
    stem: Path,
    size: tuple[float, float] = SIZE,
    font: float = 9,
    dpi: int = 150,
    pdf: bool = False,
    legend_below: bool = False,
) -> str:
    """Write STEM.svg and STEM.png, and STEM.pdf where asked, in inches and points; returns the SVG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    style: Any = {"svg.hashsalt": "harness", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": font}
    style |= {"axes.grid": True, "grid.alpha": 0.25, "axes.linewidth": 0.6, "font.family": "DejaVu Sans"}
    style |= {"axes.spines.top": False, "axes.spines.right": False}
    style |= {"text.parse_math": False}  # a name with a dollar sign is a name
    buffer = io.StringIO()
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        drawing(axes)
        if size[0] < NARROW and isinstance(axes.xaxis.get_major_locator(), MaxNLocator):
            axes.locator_params(axis="x", nbins=4)  # long numbers would run into each other
        _legend(figure, axes, font - 1, legend_below)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        figure.savefig(_beside(stem, ".png"), dpi=dpi, metadata={"Software": None})
        if pdf:
            figure.savefig(_beside(stem, ".pdf"), metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
        plt.close(figure)
    svg = re.sub(rf'<g id="{TITLE}([^"]*)">', r"<g><title>\1</title>", without_controls(buffer.getvalue()))
    _beside(stem, ".svg").write_text(svg, encoding="utf-8")
    return svg


def _beside(stem: Path, kind: str) -> Path:
    return stem.with_name(stem.name + kind)


def _legend(figure: Any, axes: Any, font: float, below: bool) -> None:
    """Inside the axes, or below them in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    if not below:
        axes.legend(frameon=False, fontsize=font if len(handles) <= 10 else font - 1)
        return
    width = (max(map(len, labels)) + 6) * 0.62 * font / 72  # inches of one entry, with its line
    columns = max(1, min(len(labels), int(figure.get_size_inches()[0] / width)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=font)


def clip(mean: float, interval: Interval) -> tuple[float, float]:
    """An interval in percent, cut off at 0 and 100: a t-interval may exceed them."""
    low, high = interval or (mean, mean)
    return max(0.0, 100 * low), min(100.0, 100 * high)


def _measured(mean: float, interval: Interval) -> str:
    return f"{points(mean)}{f' {bracket(interval)}' if interval else ''}"


def _hover(findings: Findings, arm: str) -> str:
    """An arm's label, and what it is."""
    called, about = _called(findings)(arm), visible(findings.results.study.about(arm))
    return f"{called}: {about}" if about else called


def _called(findings: Findings) -> Callable[[str], str]:
    """An arm's label, without control sequences: a study may come from anywhere."""
    return lambda arm: visible(findings.results.study.label(arm))


def curves(axes: Any, *, findings: Findings, block: Block) -> None:
    """Endpoint accuracy against the budget, with t-intervals over seeds as bands."""
    budget = str(findings.results.example.record["budget"]["unit"])
    places = [point(f) for f in findings.results.fractions]
    look, called = styles_of(findings), _called(findings)
    for arm in (findings.arms[a] for a in block.arms):
        curve, x = arm.curves[findings.endpoint.name], arm.spend_F[budget]
        values = list(zip(curve.mean_F, curve.interval_F, strict=True))
        title = "\n".join(
            [_hover(findings, arm.name), *(f"{p}: {_measured(*v)}" for p, v in zip(places, values, strict=True))]
        )
        style = look[arm.name].line | {"markersize": 4, "linewidth": 1.4}
        axes.plot(x, [100 * y for y in curve.mean_F], label=called(arm.name), gid=TITLE + title, **style)
        low, high = zip(*(clip(*value) for value in values), strict=True)
        axes.fill_between(x, low, high, alpha=0.13, color=style["color"], linewidth=0)
    axes.set_xlabel(unit(budget))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x < 1e9 else f"{x:.1e}")
    _label_accuracy(axes, findings)


def _label_accuracy(axes: Any, findings: Findings) -> None:
    axes.set_ylabel(f"{findings.endpoint.name}, strict, {findings.endpoint.decoding} (%)")


def _cost(axes: Any, *, findings: Findings, block: Block) -> None:
    """Endpoint accuracy against FLOPs, a cost that does not depend on the machine."""
    look, called = styles_of(findings), _called(findings)
    for arm in (findings.arms[a] for a in block.arms):
        low, high = clip(arm.mean, arm.interval)
        x, y = arm.spend_F["flops"][-1] / 1e12, 100 * arm.mean
        style = look[arm.name].line | {"linestyle": "none", "markersize": 6}
        title = f"{called(arm.name)}: {_measured(arm.mean, arm.interval)}, {x:.4g} TFLOP"
        axes.errorbar(x, y, [[y - low], [high - y]], capsize=3, label=called(arm.name), gid=TITLE + title, **style)
    axes.set_xlabel("TFLOP, by the model's formula")
    _label_accuracy(axes, findings)
    axes.set_xlim(left=0)


def _seeds(axes: Any, *, findings: Findings, block: Block) -> None:
    """Every seed; beside them the mean and its interval."""
    look, called = styles_of(findings), _called(findings)
    arms: list[ArmSummary] = [findings.arms[a] for a in block.arms]
    for i, arm in enumerate(arms):
        finished = [(s.seed, s.value) for s in arm.seeds if s.value is not None]
        style = look[arm.name].line | {"linestyle": "none"}
        for k, (seed, value) in enumerate(finished):
            x, title = (
                i + 0.24 * (k / max(len(finished) - 1, 1) - 0.5),
                f"{called(arm.name)}, seed {seed}: {points(value)}",
            )
            axes.plot([x], [100 * value], alpha=0.6, markersize=4, gid=TITLE + title, **style)
        low, high = clip(arm.mean, arm.interval)
        axes.vlines(i + 0.25, low, high, color=style["color"], linewidth=1.6)
        title = f"{called(arm.name)}: mean {_measured(arm.mean, arm.interval)}"
        axes.plot([i + 0.25], [100 * arm.mean], markersize=6, gid=TITLE + title, **style)
    crowded = len(arms) > 4
    ticks = [called(arm.name) for arm in arms]
    axes.set_xticks(range(len(arms)), ticks, rotation=25 if crowded else 0, ha="right" if crowded else "center")
    _label_accuracy(axes, findings)


def _at_k(axes: Any, *, findings: Findings) -> None:
    """pass@K and maj@K against K, of the start model and every arm; the band is the interval of arm - start."""
    look, called = styles_of(findings), _called(findings)
    task = findings.at_k[0].task
    for kind, line in (("pass", "-"), ("maj", "--")):
        curve = [x for x in findings.at_k if (x.task, x.kind) == (task, kind)]
        ks = [x.k for x in curve]
        start = [100 * x.start for x in curve if x.start is not None]
        if start:
            axes.plot(ks, start, line, color="#777777", linewidth=1.8, label=f"start, {kind}@K")
        for arm in curve[0].mean if curve else ():
            style = look[arm].line | {"linestyle": line, "markersize": 4, "linewidth": 1.2}
            title = "\n".join([called(arm), *(f"{x.metric}: {points(x.mean[arm])}" for x in curve)])
            axes.plot(
                ks, [100 * x.mean[arm] for x in curve], label=f"{called(arm)}, {kind}@K", gid=TITLE + title, **style
            )
            gains = [x.gain[arm][1] if arm in x.gain else None for x in curve]
            if start and all(gains):
                low, high = ([y + 100 * e[i] for y, e in zip(start, gains, strict=True) if e] for i in (0, 1))
                axes.fill_between(ks, low, high, alpha=0.12, color=style["color"], linewidth=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel("K")
    axes.set_ylabel(f"{task} (%)")
