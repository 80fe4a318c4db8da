"""report.html: a report as one file that loads nothing, whose charts draw themselves from a block of data in it.

Tables and sentences are made here and can be read without a script.  A template sees texts of models and of files as
data: everything is escaped, and the page's own policy lets no other script run and no address be asked.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from evals.statistics.comparison import FEWEST
from harness.accounting.budget import UNITS
from harness.accounting.format import point, size
from harness.accounting.profiler import CHARGED, PARTS
from harness.reports.analysis.summary import Arm, Block, Findings
from harness.reports.render import provenance, tables
from harness.reports.render import text as wording
from harness.reports.render.reward_models import learned
from harness.reports.render.tables import Table

ROOM = Path(__file__).with_suffix("")  # the template, its style and its script
KINDS = {
    "Separated": ("A better", "B better"),
    "Equivalent": ("equivalent", "identical"),
    "Not separated": ("not separated",),
    "Not compared": ("no interval",),
}
COLOURS = 12  # of arms, in page.css; dashes and markers tell them apart too
VISIBLE = 0.002  # of the longest bar: what is thinner in every bar is left to the table


def page(findings: Findings) -> str:
    """The whole file.  The same records give the same bytes."""
    f, script = findings, (ROOM / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = _templates().get_template("page.html")
    text = template.render(
        study=f.results.study,
        blocks=[_block(f, block) for block in f.blocks],
        notes=wording.notes(f),
        audit=wording.audit(f.audit, f.late),
        thin=_thin(f),
        curves=_curves(f),
        seeds=tables.seeds(f),
        memory=tables.memory(f),
        phases=tables.phases(f),
        spend=tables.spend(f),
        at_k=tables.at_k(f) if f.at_k else None,
        logged=tables.logged(f) if f.logged else None,
        learned=learned(f),
        claims=[wording.claim(tested) for tested in f.hypotheses],
        hypotheses=tables.hypotheses(f) if f.hypotheses else None,
        tuning=tables.tuning(f) if f.trials else None,
        samples=_samples(f),
        commands=provenance.commands(f.results),
        versions=provenance.versions(f.results),
        colour={name: i % COLOURS for i, name in enumerate(f.arms)},
        data=finite(charts(f)),
        style=Markup((ROOM / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        digest=digest,
    )
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # half a character is no text


def _templates() -> Environment:
    env = Environment(
        loader=FileSystemLoader(ROOM), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters.update(prose=prose, breakable=breakable)
    return env


def prose(text: str) -> Markup:
    """Our own sentences: `name` and **word** as they are meant, intervals never broken; anything else is text."""
    safe = str(escape(text))
    for pattern, tag in (
        (r"`([^`]+)`", "code"),
        (r"\*\*([^*]+)\*\*", "strong"),
        (r"(\(?(?:[+-][\d.]+ )?\[[^\]]+\])", "span"),
    ):
        safe = re.sub(pattern, rf"<{tag}>\1</{tag}>", safe)
    return Markup(safe)


def breakable(text: str) -> Markup:
    """A column's name, which may wrap after its underscores but not before its unit."""
    return Markup(str(escape(text)).replace("_", "_<wbr>").replace(" %", "&nbsp;%"))


# --- words and tables -------------------------------------------------------------------------------------------


def _block(f: Findings, block: Block) -> dict[str, Any]:
    groups = {name: [p for p in block.pairs if p.verdict.kind in kinds] for name, kinds in KINDS.items()}
    margin = f.results.study.report.margin
    return {
        "name": block.name,
        "headline": wording.headline(f, block),
        "accuracy": tables.accuracy(f, block),
        "pairs": tables.pairs(f, block),
        "verdicts": {g: wording.verdicts(replace(block, pairs=pairs), margin) for g, pairs in groups.items() if pairs},
    }


def _thin(f: Findings) -> str:
    names = [arm.name for arm in f.arms.values() if arm.interval is None]
    return f"No interval for {wording.listed(names)}: it takes {FEWEST} seeds." if names else ""


def _curves(f: Findings) -> Table:
    """The learning curves of the endpoint, for whom a chart says nothing."""
    rows = []
    for arm in f.arms.values():
        ends = [f" {wording.bracket(i)}" if i else "" for i in arm.matched.interval_F]
        rows.append([arm.name, *(wording.points(y) + end for y, end in zip(arm.matched.mean_F, ends, strict=True))])
    return Table(
        "Learning curves",
        ["arm", *map(point, f.results.fractions)],
        rows,
        f"`{f.endpoint.name}`, strict, at the fraction itself.",
    )


def _samples(f: Findings) -> list[tuple[str, list[provenance.Sample]]]:
    found = itertools.groupby(provenance.samples(f.results), lambda s: f"{s.task}, {s.decoding}")
    return [(name, list(samples)) for name, samples in found]


# --- what the charts draw ---------------------------------------------------------------------------------------


def charts(f: Findings) -> dict[str, Any]:
    """The block of data."""
    shown = next((block.arms for block in f.blocks if block.arms), [])
    return {
        "budget": f.results.one.record["budget"]["unit"],
        "endpoint": f.endpoint.name,
        "fractions": [point(x) for x in f.results.fractions],
        "units": [{"name": u, "label": wording.unit(u)} for u in UNITS],
        "sets": [{"name": t.name, "label": t.name} for t in f.results.tasks],
        "arms": [_arm(arm, arm.name in shown) for arm in f.arms.values()],
        "memory": _stack({a.name: a.memory for a in f.arms.values()}, PARTS, size),
        "phases": _stack({a.name: a.seconds for a in f.arms.values()}, CHARGED, lambda s: f"{s:,.1f} s"),
        "trials": _trials(f),
    }


def _arm(arm: Arm, shown: bool) -> dict[str, Any]:
    return {
        "name": arm.name,
        "shown": shown,
        "mean": arm.mean,
        "interval": arm.interval,
        "seeds": [asdict(seed) for seed in arm.seeds],
        "curves": {task: {"mean": c.mean_F, "interval": c.interval_F} for task, c in arm.curves.items()},
        "spend": arm.spend_F,
    }


def _stack(bars: Mapping[str, Mapping[str, float]], order: Sequence[str], text: Callable[[float], str]) -> Any:
    """One bar an arm, its parts in this order; what the order does not name is pale, comes last, and is added apart."""
    longest = max(sum(bar.values()) for bar in bars.values())
    parts = dict.fromkeys((*order, *(name for bar in bars.values() for name in bar)))
    names = [name for name in parts if any(bar.get(name, 0.0) > VISIBLE * longest for bar in bars.values())]
    pale = [name for name in names if name not in order]

    def total(bar: Mapping[str, float]) -> str:
        sums = [sum(x for name, x in bar.items() if (name in order) == own) for own in (True, False)]
        return " + ".join(text(x) for x in (sums if pale else sums[:1]))

    return {
        "parts": [{"label": name.replace("_", " "), "pale": name in pale} for name in names],
        "bars": [
            {
                "arm": arm,
                "values": [bar.get(name, 0.0) for name in names],
                "texts": [text(bar.get(name, 0.0)) for name in names],
                "total": total(bar),
            }
            for arm, bar in bars.items()
        ],
    }


def _trials(f: Findings) -> list[dict[str, Any]]:
    """One curve an arm, over the trials in their order; a study of one tuned field calls them by its value."""
    tune = f.results.study.tune
    field = next(iter(tune.grid)).split(".")[-1] if tune and len(tune.grid) == 1 else ""
    return [
        {
            "arm": arm,
            "trials": [{"label": t.name.removeprefix(field), "values": t.values, "chosen": t.chosen} for t in trials],
        }
        for arm, trials in f.trials.items()
    ]


def finite(x: Any) -> Any:
    """JSON has no nan and no infinity: None."""
    if isinstance(x, Mapping):
        return {k: finite(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [finite(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
