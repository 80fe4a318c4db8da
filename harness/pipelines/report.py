"""report.md and stages.csv of a pipeline: what each stage brought, and the whole budget on one stage in its place.

Only records are read, torch is not needed, and the same records give the same bytes.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from evals.statistics.estimates import t_interval
from harness.accounting.budget import UNITS
from harness.accounting.format import percent, without_controls
from harness.config.files.paths import check_targets
from harness.config.overrides import Fields
from harness.pipelines.contrasts import START, Contrast, contrasts
from harness.pipelines.results import PipelineResults, load
from harness.pipelines.schema import Stage
from harness.reports.loading import Results
from harness.reports.render.escape import inert
from harness.reports.render.provenance import versions
from harness.reports.render.table import Table
from harness.reports.render.text import amount, bracket, join_words, points, seed_list, unit
from harness.studies.study import Study

FILES = ("report.md", "stages.csv")


def write_report(folder: Path) -> list[str]:
    """Write it; returns the headline, and the report's file.

    Raises ValueError, one line, where of no seed all stages have finished, or the records do not fit together.
    """
    results = load(folder)
    check_targets(folder, FILES)
    found = contrasts(results)
    (folder / FILES[0]).write_text(markdown(results, found), encoding="utf-8")
    (folder / FILES[1]).write_text(_csv(results), encoding="utf-8")
    return [headline(results, found), str(folder / FILES[0])]


def headline(r: PipelineResults, found: list[Contrast]) -> str:
    """The end of the pipeline against each control."""
    last, whole = r.trained[-1].name, r.pipeline.budget or "no common budget"
    value = points(float(r.value_S(last, r.endpoint).mean()))
    ends = f"At {whole}, {_seeds(r)}: {r.pipeline.name} ends at {value} % on {r.endpoint}"
    against = [_against(c) for c in found if not c.brought]
    return f"{ends}{', ' * bool(against)}{join_words(against)}."


def _against(c: Contrast) -> str:
    """For example "better than rl_only (+5.0 [2.1, 7.9])"."""
    return f"{c.verdict} {'than' if c.verdict in ('better', 'worse') else 'against'} {c.b} ({_effect(c)})"


def markdown(r: PipelineResults, found: list[Contrast]) -> str:
    p = r.pipeline
    head = (("Question", p.question), ("Source", p.source), ("Prediction", p.prediction))
    parts = [f"# {inert(p.name)}", "\n".join(f"- {name}: {inert(text)}" for name, text in head if text)]
    parts += [f"**{inert(headline(r, found))}**", "\n".join(f"- {inert(line)}" for line in _notes(r))]
    for table in (stages(r, found), compared(r, found), ledger(r), sampled(r), by_set(r), by_seed(r), _versions(r)):
        if table.rows:
            parts.append("\n\n".join(x for x in (f"## {inert(table.title)}", table.markdown(), inert(table.note)) if x))
    parts.append(f"## Command\n\n    harness pipeline {p.name}")
    return without_controls("\n\n".join(part for part in parts if part) + "\n")


def _notes(r: PipelineResults) -> list[str]:
    lines = []
    if missing := [seed for seed in r.pipeline.seeds if seed not in r.seeds]:
        lines.append(f"Of {seed_list(missing)} not every run has finished: left out of every number.")
    if r.later:
        lines.append(f"{seed_list(r.later).capitalize()} were added after the first run.")
    if len(r.seeds) < 3:
        lines.append("Fewer than three seeds: no interval, and no verdict.")
    return lines


def stages(r: PipelineResults, found: list[Contrast]) -> Table:
    """What each stage brought."""
    rows, start = [], r.value_S(r.trained[0].name, r.endpoint, 0.0)
    before = {c.a: c for c in found if c.brought}
    rows.append([START, "", str(r.pipeline.base.get("model", "nano")), "", "", *_accuracy(start), "", "", ""])
    for stage in r.pipeline.all:
        control = stage in r.pipeline.controls
        share = 1.0 if control else stage.share
        begins = stage.model or str(stage.fields.get("model", r.pipeline.base.get("model", "nano")))
        begins += f", data of {stage.data}" if stage.data else ""
        row = [stage.name, stage.kind, begins, "-" if share is None else f"{share:.0%}", _used(r, stage)]
        if stage.kind == "rejection_sample":
            rows.append([*row, "-", "", "", "", ""])
            continue
        c = before.get(stage.name)
        row += _accuracy(r.value_S(stage.name, r.endpoint))
        rows.append([*row, *([f"{c.b}", _effect(c), c.verdict] if c else ["", "", "control"])])
    columns = ["stage", "kind", "begins with", "share", "used", f"{r.endpoint} at its end", "95 %", "before it"]
    note = (
        f"Strict accuracy in percent, {_seeds(r)}, t-intervals over seeds.  Brought: in points over the stage before "
        f"it, with the interval of the family below; `used`: of its own budget.  A control spends the whole budget."
    )
    return Table("What each stage brought", [*columns, "brought", "verdict"], rows, note)


def compared(r: PipelineResults, found: list[Contrast]) -> Table:
    rows = [[c.a, c.b, _effect(c), c.verdict, "-" if c.comparison.pair.why else f"{c.comparison.p:.4f}"] for c in found]
    scope = found[0].comparison.pair.scope
    problems = found[0].comparison.pair.problems
    what = f"{scope} ({problems} problems)" if problems else scope
    note = f"One family of {len(found)} contrasts over {what}; margin {r.pipeline.margin:g} points; p corrected."
    return Table("Compared", ["stage", "against", "difference", "verdict", "p"], rows, note)


def ledger(r: PipelineResults) -> Table:
    """Spend in every unit, and the sum that the budget is charged."""
    rows = [[stage.name, *(amount(r.mean_spent(stage.name)[u]) for u in UNITS)] for stage in r.pipeline.stages]
    sums = [r.whole(seed) for seed in r.seeds]
    rows.append(["**whole**", *(amount(sum(s[u] for s in sums) / len(sums)) for u in UNITS)])
    if (whole := r.pipeline.whole) is not None:
        most = max(s[whole.unit] for s in sums) / whole.limit
        rows.append([f"of {r.pipeline.budget}", *(percent(most) if u == whole.unit else "" for u in UNITS)])
    rows += [[f"control {c.name}", *(amount(r.mean_spent(c.name)[u]) for u in UNITS)] for c in r.pipeline.controls]
    note = "Means over seeds; the last line of the whole is the most that a seed used.  Evaluation is not charged."
    return Table("Ledger", ["stage", *map(unit, UNITS)], rows, note)


def sampled(r: PipelineResults) -> Table:
    """What rejection sampling accepted."""
    rows = []
    for stage in (s for s in r.pipeline.stages if s.kind == "rejection_sample"):
        records = [r.runs[stage.name][seed].record for seed in r.seeds]
        counts = [(x["spend"]["completions"], x["split"]["kept_completions"]) for x in records]  # type: ignore[typeddict-item]
        drawn, kept = (sum(column) / len(column) for column in zip(*counts, strict=True))
        rows.append([stage.name, str(stage.model), amount(drawn), amount(kept), percent(kept / drawn)])
    return Table(
        "Rejection sampling", ["stage", "model of", "completions", "accepted", "share"], rows, "Means over seeds."
    )


def by_set(r: PipelineResults) -> Table:
    """Every evaluation set at the end of every stage."""
    first = r.trained[0].name
    rows = [[START, *(points(float(r.value_S(first, name, 0.0).mean())) for name in r.sets)]]
    for stage in [*r.trained, *r.pipeline.controls]:
        rows.append([stage.name, *(points(float(r.value_S(stage.name, name).mean())) for name in r.sets)])
    return Table("Every set", ["stage", *r.sets], rows, "Strict accuracy in percent at the end, means over seeds.")


def by_seed(r: PipelineResults) -> Table:
    named = [*r.trained, *r.pipeline.controls]
    values = {stage.name: r.value_S(stage.name, r.endpoint) for stage in named}
    rows = [[str(seed), *(points(float(values[s.name][i])) for s in named)] for i, seed in enumerate(r.seeds)]
    return Table("Every seed", ["seed", *(stage.name for stage in named)], rows, f"{r.endpoint}, strict, at the end.")


def _versions(r: PipelineResults) -> Table:
    runs = {name: {s: run for s, run in by_seed.items() if s in r.seeds} for name, by_seed in r.runs.items()}
    arms: dict[str, Fields] = {name: {} for name in runs}
    return versions(Results(Study(name=r.pipeline.name, arms=arms, seeds=r.seeds), runs))


def _csv(r: PipelineResults) -> str:
    """A row per stage and seed."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["seed", "stage", "kind", "control", *r.sets, *UNITS])
    for seed in r.seeds:
        for stage in r.pipeline.all:
            values = r.runs[stage.name][seed].values()
            scores = [values.get((1.0, (name, "strict", "exact_match")), "") for name in r.sets]
            control = stage in r.pipeline.controls
            table.writerow([seed, stage.name, stage.kind, int(control), *scores, *r.spent(stage.name, seed).values()])
    return file.getvalue()


def _used(r: PipelineResults, stage: Stage) -> str:
    budget = r.runs[stage.name][r.seeds[0]].record["budget"]
    return percent(r.mean_spent(stage.name)[budget["unit"]] / budget["limit"])


def _accuracy(value_S: np.ndarray) -> tuple[str, str]:
    return points(float(value_S.mean())), bracket(t_interval(value_S) if np.isfinite(value_S).all() else None)


def _effect(c: Contrast) -> str:
    pair = c.comparison.pair
    interval = None if pair.why else (c.comparison.low, c.comparison.high)
    return f"{points(pair.mean, sign=True)}{f' {bracket(interval)}' if interval else ''}"


def _seeds(r: PipelineResults) -> str:
    return f"{len(r.seeds)} seed{'s' * (len(r.seeds) != 1)}"
