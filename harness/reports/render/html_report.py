"""report.html: a report as one file that loads nothing.  Figures are inline SVG; a small script sorts tables.

Everything is readable without the script.  Texts of models and of files are data to the template: all of them are
escaped, and the page's Content-Security-Policy allows no other script and no request.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from evals.statistics.comparison import AHEAD, BETTER
from evals.statistics.estimates import MIN_SEEDS
from harness.accounting.format import point, visible, without_controls
from harness.reports.analysis.summary import Block, Findings
from harness.reports.palette import styles_of
from harness.reports.render import arms as arm_tables
from harness.reports.render import caveats, figures, provenance, tables
from harness.reports.render import text as wording
from harness.reports.render.coverage import repeated_tables
from harness.reports.render.reward_models import reward_model_table
from harness.reports.render.table import Table

TEMPLATES = Path(__file__).with_suffix("")  # the template, its style and its script
KINDS = {
    "Better": BETTER,
    "Ahead, within the margin": AHEAD,
    "Equivalent": ("equivalent", "identical"),
    "Undecided": ("undecided",),
    "Not compared": ("no interval",),
}


def html_page(findings: Findings, svg: Mapping[str, str]) -> str:
    """The whole file, with the figures of `figures.draw` (may be empty).  The same arguments give the same bytes."""
    f, script = findings, (TEMPLATES / "page.js").read_text(encoding="utf-8")
    text = (
        _templates()
        .get_template("page.html")
        .render(
            study=f.results.study,
            blocks=[_block(f, block) for block in f.blocks],
            cautions=caveats.cautions(f),
            notes=caveats.notes(f),
            audit=wording.audit_text(f.audit, f.delay),
            without_interval=_without_interval(f),
            figures={name: inline_svg(name, text, figures.caption(f, name)) for name, text in svg.items()},
            captions={name: figures.caption(f, name) for name in svg},
            legend=arm_tables.legend(f),
            curves=_curves(f),
            seeds=tables.seeds(f),
            memory=tables.memory(f),
            phases=tables.phases(f),
            arms=arm_tables.arms(f) if len(f.results.study.arms) > 1 else None,
            outcomes=arm_tables.outcomes(f),
            spend=tables.spend(f),
            at_k=tables.at_k(f) if f.at_k else None,
            repeated=repeated_tables(f),
            logged=tables.logged(f) if f.logged else None,
            reward_models=reward_model_table(f),
            claims=[wording.hypothesis_sentence(r) for r in f.hypotheses if not r.hypothesis.post_hoc],
            hypotheses=tables.hypotheses(f) if f.asked_before else None,
            post_hoc=tables.hypotheses(f, post_hoc=True) if f.asked_after else None,
            tuning=tables.tuning(f) if f.results.study.tune else None,
            samples=_samples(f),
            commands=provenance.commands(f.results),
            versions=provenance.versions(f.results),
            colour={arm: style.colour for arm, style in styles_of(f).items() if arm in f.arms},
            style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            script=Markup(script),
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    whole = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # completions may hold lone surrogates
    return without_controls(whole)


def _templates() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # Markup is ours
    )
    env.filters.update(prose=prose, breakable=breakable)
    return env


def prose(text: str) -> Markup:
    """A sentence of the report: `code` and **bold** become elements, intervals do not break, the rest is escaped."""
    safe = str(escape(visible(text)))
    for pattern, tag in (
        (r"`([^`]+)`", "code"),
        (r"\*\*([^*]+)\*\*", "strong"),
        (r"(\(?(?:[+-][\d.]+ )?\[[^\]]+\])", "span"),
    ):
        safe = re.sub(pattern, rf"<{tag}>\1</{tag}>", safe)
    return Markup(safe)


def breakable(text: str) -> Markup:
    """A column's name, which may wrap after its underscores but not before its unit."""
    return Markup(str(escape(visible(text))).replace("_", "_<wbr>").replace(" %", "&nbsp;%"))


def inline_svg(name: str, text: str, caption: str) -> Markup:
    """A figure of `figures.draw` as an element of the page: without prolog, namespaces and fixed size, and with its
    name in every id, since ids must be unique in the page."""
    _, root, body = re.split(r"(<svg[^>]*>)", text, maxsplit=1)
    (box,) = re.findall(r'viewBox="[^"]*"', root)
    body = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{name}-", body)
    return Markup(f'<svg role="img" aria-label="{escape(visible(caption))}" {box}>{body}')


# --- sentences and tables ---------------------------------------------------------------------------------------


def _block(f: Findings, block: Block) -> dict[str, Any]:
    groups = {name: [p for p in block.pairs if p.comparison.kind in kinds] for name, kinds in KINDS.items()}
    margin = f.results.study.report.margin
    return {
        "name": block.name,
        "headline": wording.headline(f, block),
        "accuracy": tables.accuracy(f, block),
        "pairs": tables.pairs(f, block),
        "sentences": {
            group: wording.pair_sentences(replace(block, pairs=pairs), margin)
            for group, pairs in groups.items()
            if pairs
        },
    }


def _without_interval(f: Findings) -> str:
    arms = [arm.name for arm in f.arms.values() if arm.interval is None]
    return f"No interval for {wording.join_words(arms)}: fewer than {MIN_SEEDS} seeds." if arms else ""


def _curves(f: Findings) -> Table:
    """The numbers of the learning curves."""
    rows = []
    for arm in f.arms.values():
        intervals = [f" {wording.bracket(i)}" if i else "" for i in arm.matched.interval_F]
        rows.append([arm.name, *(wording.points(y) + i for y, i in zip(arm.matched.mean_F, intervals, strict=True))])
    columns = ["arm", *map(point, f.results.fractions)]
    note = f"`{f.endpoint.name}`, strict, interpolated to the fraction of the budget."
    return Table("Learning curves", columns, rows, note)


def _samples(f: Findings) -> list[tuple[str, list[provenance.Sample]]]:
    groups = itertools.groupby(provenance.samples(f.results), lambda s: f"{s.task}, {s.decoding}")
    return [(name, list(samples)) for name, samples in groups]
