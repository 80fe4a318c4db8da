"""The tables of a report, built once for report.md, table.tex and report.html, and table.csv."""

from __future__ import annotations

import itertools
import math

from evals.statistics.comparison import AHEAD, BETTER, POWER
from evals.statistics.estimates import MIN_SEEDS
from harness.accounting.budget import UNITS
from harness.accounting.format import count, flops, size
from harness.reports.analysis.hypotheses import HypothesisResult
from harness.reports.analysis.logged_metrics import QUARTERS, metric_names
from harness.reports.analysis.summary import ArmSummary, Block, Findings
from harness.reports.render.caveats import trials_absent
from harness.reports.render.table import Table
from harness.reports.render.text import (
    amount,
    bracket,
    comparison_text,
    crossover_text,
    over_text,
    overtaking_text,
    p_value,
    points,
    scope_text,
    simultaneous_interval,
    unit,
)
from harness.studies.schema import ALONE, START


def accuracy(findings: Findings, block: Block) -> Table:
    """The main table of a block: one row per arm."""
    f, level = findings, findings.results.study.report.level
    others = [t.name for t in f.results.tasks if t.name != f.endpoint.name]
    halves = sorted((x for x in f.results.fractions if 0 < x < 1), key=lambda x: abs(x - 0.5))[:1]
    columns = ["arm", *_tuned_names(f), "seeds", f.endpoint.name, "95 %", "IQM", *(f"at {100 * x:g} %" for x in halves)]
    columns += [
        *others,
        "updates",
        f"{unit(_budget(f))} to {100 * level:g} %",
        "zero-variance groups",
        "collapsed",
        "95 %, exact",
    ]
    rows = []
    if f.start:
        first = ["start", *[""] * (len(_tuned_names(f)) + 1), points(f.start[f.endpoint.name]), "", ""]
        rows.append([*first, *[""] * len(halves), *(points(f.start[t]) for t in others), *[""] * 5])
    for arm in (f.arms[name] for name in block.arms):
        tuned = ["-" if x is None else f"{x:g}" if isinstance(x, float) else str(x) for x in arm.tuned.values()]
        interval = bracket(arm.interval) if arm.interval else f"needs {MIN_SEEDS} seeds"
        row = [arm.name, *tuned, str(arm.finished), points(arm.mean), interval, points(arm.iqm)]
        row += [points(arm.matched.mean_F[f.results.fractions.index(x)]) for x in halves]
        row += [points(arm.curves[t].mean_F[-1]) for t in others]
        row += [amount(arm.spend_F["updates"][-1])]
        row += [amount(arm.budget_to_level) if math.isfinite(arm.budget_to_level) else "never"]
        row += ["-" if arm.zero_variance is None else f"{100 * arm.zero_variance:.0f} %"]
        ended = sum(s.status.startswith(("finished", "failed")) for s in arm.seeds)
        rows.append([*row, f"{arm.collapsed} of {ended}", bracket(arm.collapse_interval)])
    note = (
        f"Strict accuracy in percent at the end of the budget, means over seeds; `{f.endpoint.name}` is the primary "
        f"endpoint, with its t-interval over seeds ({f.endpoint.n:,} problems, {f.endpoint.decoding}).  "
        f"{_described(f)}  Collapsed: failed, or more than 10 points below the start at temperature 1 (exact interval)."
    )
    return Table(block.name or "Accuracy", columns, rows, note)


def _budget(f: Findings) -> str:
    return str(f.results.example.record["budget"]["unit"])


def _tuned_names(f: Findings) -> list[str]:
    return [name.split(".")[-1] for name in f.results.study.tune.fields] if f.results.study.tune else []


def _described(f: Findings) -> str:
    """The evaluation sets, by domain."""
    domains = {"in": "in domain", "out": "out of domain", "retention": "retention"}
    parts = []
    for domain, words in domains.items():
        names = [
            f"`{t.name}`{f' (temperature {t.temperature:g})' if t.temperature else ''}"
            for t in f.results.tasks
            if t.domain == domain
        ]
        if names:
            parts.append(f"{words}: {', '.join(names)}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def pairs(findings: Findings, block: Block) -> Table:
    """One row per pair of a block."""
    columns = ["A", "B", "A - B", "95 %, family", "p", "result", "detectable", "r", "P(A > B)"]
    columns += ["95 %, seeds alone", "problems' share", "crossover"]
    rows = []
    for pair in block.pairs:
        c, r = pair.comparison, pair.comparison.pair.correlation
        result: str = c.kind
        if c.kind in (*BETTER, *AHEAD):
            result = f"{pair.a if c.kind[0] == 'A' else pair.b} {c.kind[2:]}{', within the margin' * (c.kind in AHEAD)}"
        result += " (post hoc)" * pair.post_hoc
        share = "-" if math.isnan(c.pair.problem_share) else f"{100 * c.pair.problem_share:.0f} %"
        row = [pair.a, pair.b, points(c.pair.mean, sign=True), c.pair.why or bracket(simultaneous_interval(pair))]
        row += [p_value(c.p), result, points(c.detectable), "-" if math.isnan(r) else f"{r:.2f}"]
        rows.append([*row, f"{pair.improvement:.2f}", bracket(pair.seeds_alone), share, crossover_text(findings, pair)])
    margin = f"{findings.results.study.report.margin:g} points"
    note = (
        f"Points of `{findings.endpoint.name}`, paired by seed, {scope_text(block)}: all pairs and claims that compare "
        "arms of this study.  Intervals are at the level at which one step-down over the family decides, so that no "
        f"word of it is wrong with probability 95 %.  Better: the interval excludes 0 and does not lie within {margin}."
        f"  Ahead: it excludes 0 and lies within.  Equivalent: it contains 0 and lies within.  Undecided: all else.  "
        f"Detectable: the true difference that would be told from 0 with probability {POWER:g}.  r: correlation of A "
        "and B over seeds.  P(A > B): for one run of each.  Seeds alone: uncorrected, for these problems.  Problems' "
        "share: of the variance of A - B, what the choice of problems adds.  Crossover: where the curves last cross "
        f"after the start, in {unit(_budget(findings))}, with the 95 % interval that inverts the t-interval of A - B "
        "along the curve."
    )
    return Table(f"Pairs{f', {block.name}' if block.name else ''}", columns, rows, note)


def spend(findings: Findings) -> Table:
    """What each arm used, in every unit: a budget makes only one of them equal."""
    columns = ["arm", *(unit(u) for u in UNITS), "peak memory"]

    def cell(arm: ArmSummary, u: str) -> str:
        x = arm.spend_F[u][-1]
        return flops(x) if u == "flops" else f"{x:,.1f}" if u == "device_seconds" and math.isfinite(x) else count(x)

    rows = [[arm.name, *(cell(arm, u) for u in UNITS), size(arm.peak_bytes)] for arm in findings.arms.values()]
    return Table("Spend", columns, rows, "Means over seeds.  Peak memory: of the whole process.")


def seeds(findings: Findings) -> Table:
    """The endpoint of every run, or its status."""
    f = findings
    numbers = sorted({s.seed for arm in f.arms.values() for s in arm.seeds})
    cells = {
        (a.name, s.seed): points(s.value) if s.value is not None else s.status.split(":")[0]
        for a in f.arms.values()
        for s in a.seeds
    }
    rows = [[str(n), *(cells.get((arm, n), "") for arm in f.arms)] for n in numbers]
    return Table("Every seed", ["seed", *f.arms], rows, f"`{f.endpoint.name}`, strict, at the end.")


def tuning(findings: Findings) -> Table:
    """One row per arm: the values of every trial, the chosen one marked."""
    names = list(dict.fromkeys(t.name for trials in findings.trials.values() for t in trials))
    rows = []
    for arm, trials in findings.trials.items():
        cells = {t.name: " ".join(map(points, t.values)) + (" *" if t.chosen else "") for t in trials}
        rows.append([arm, *(cells.get(name, "-") for name in names)])
    tune = findings.results.study.tune
    used = f" (seeds {', '.join(map(str, tune.seeds))}, used for tuning only)" if tune else ""
    total = sum(v is not None for t in itertools.chain(*findings.trials.values()) for v in t.values)
    note = (
        f"Strict greedy accuracy on the selection split at the end of each trial{used}; * chosen by the mean.  "
        f"{total} trial runs in total."
    )
    if tune and (tune.widen or tune.own) and findings.trials:
        counts = sorted({len(trials) for trials in findings.trials.values()})
        note += f"  Trials of every arm: {' to '.join(map(str, counts))}, of {len(tune.seeds)} seeds each."
    note = "  ".join(filter(None, [note, trials_absent(findings)]))
    return Table("Tuning", ["arm", *names], rows, note)


def at_k(findings: Findings) -> Table:
    """pass@k and maj@k at the end, one row per metric: the start model, then the arms and their difference from it."""
    f, several = findings, len({x.task for x in findings.at_k}) > 1
    rows = []
    for x in f.at_k:
        row = [f"{x.task} {x.metric}" if several else x.metric, *([points(x.start)] if x.start is not None else [])]
        for arm, mean in x.mean.items():
            gain, interval = x.gain.get(arm, (None, None))
            change = "" if gain is None else f"{points(gain, sign=True)}{f' {bracket(interval)}' if interval else ''}"
            row.append(f"{points(mean)} ({change})" if change else points(mean))
        rows.append(row)
    has_start = any(x.start is not None for x in f.at_k)
    tasks = ", ".join(f"`{t}`" for t in dict.fromkeys(x.task for x in f.at_k))
    note = f"Percent, unbiased estimates from the samples of {tasks} at temperature 1; means over seeds."
    if has_start:
        note += "  In brackets: difference from the start model, with its own 95 % t-interval over seeds."
        note = f"{note}  {overtaking_text(f)}"
    return Table("pass@k and maj@k", ["metric", *(["start"] if has_start else []), *f.arms], rows, note)


def logged(findings: Findings) -> Table:
    """One row per metric and arm: its mean in each quarter of the budget."""
    rows = []
    for logged_metric in findings.logged:
        for arm, quarters in logged_metric.mean.items():
            rows.append([logged_metric.metric, arm, *("-" if x is None else f"{x:.3g}" for x in quarters)])
    note = "Means over completions, then seeds; a round counts in the quarter in which it ends."
    if unknown := [m.metric for m in findings.logged if not m.known]:
        note += f"  No round has {', '.join(unknown)}; valid: {', '.join(metric_names(findings.results))}."
    columns = ["metric", "arm", *(f"to {100 * (i + 1) // QUARTERS} %" for i in range(QUARTERS))]
    return Table("Training metrics by quarter", columns, rows, note)


def hypotheses(findings: Findings, post_hoc: bool = False) -> Table:
    """One row per hypothesis: the claim, the comparison that tests it, and its result.  `post_hoc`: of those that were
    asked after runs had ended, a table of its own."""
    columns = ["", "claim", "comparison", "difference", "95 %, family", "over", "detectable", "verdict"]
    rows = []
    asked = [t for t in findings.hypotheses if t.hypothesis.post_hoc == post_hoc]
    for t in asked:
        c = t.comparison
        row = [t.hypothesis.id, t.hypothesis.says, comparison_text(t), points(c.pair.mean, sign=True)]
        row += [c.pair.why or bracket((c.low, c.high)), over_text(c.pair), points(c.detectable), t.verdict]
        rows.append([*row, t.hypothesis.settle])
    notes = [f"{t.hypothesis.id}: {t.hypothesis.note}" for t in asked if t.hypothesis.note]
    sources = [t.hypothesis.source for t in asked if t.hypothesis.source]
    note = (
        f"Points, paired by seed; the margin is {findings.results.study.report.margin:g} points.  {_families(asked)}  "
        "A claim of a difference is supported if its interval lies above 0 (within the margin: and below the margin), "
        "a claim of likeness if it lies within the margin, a claim of not higher or not lower if the one end that "
        "matters does.  A claim is contradicted only where the whole interval lies beyond the margin.  Detectable: the "
        f"true difference that would be told from 0 with probability {POWER:g}."
    )
    if post_hoc:
        note = (
            f"Asked after runs had ended: each is decided as one more of all contrasts, and is in no headline.  {note}"
        )
    parts = [note, *dict.fromkeys(notes), f"Sources: {'; '.join(dict.fromkeys(sources))}." if sources else ""]
    title = "Asked post hoc" if post_hoc else "Hypotheses"
    return Table(title, [*columns, "what would settle it"], rows, "  ".join(filter(None, parts)))


def _families(asked: list[HypothesisResult]) -> str:
    """The sizes of the families of these claims."""
    sizes: dict[bool, int] = {}
    for t in asked:
        if not t.comparison.pair.why:
            sizes[t.hypothesis.expect in ALONE or START in t.hypothesis.arms] = t.comparison.family
    parts = [f"{sizes[False]} contrasts between arms"] if False in sizes else []
    parts += [f"{sizes[True]} of an arm with its own start"] if True in sizes else []
    return f"Families: {' and '.join(parts)}." if parts else ""


def memory(findings: Findings) -> Table:
    """One row per arm: bytes per part of memory."""
    parts = list(dict.fromkeys(p for arm in findings.arms.values() for p in arm.memory))
    rows = [[a.name, *(size(a.memory[p]) if p in a.memory else "-" for p in parts)] for a in findings.arms.values()]
    return Table("Memory by part", ["arm", *(p.replace("_", " ") for p in parts)], rows, "Tensor bytes, measured.")


def phases(findings: Findings) -> Table:
    """One row per arm: seconds per phase."""
    names = list(dict.fromkeys(p for arm in findings.arms.values() for p in arm.seconds))
    rows = [
        [a.name, *(f"{a.seconds[p]:.1f}" if p in a.seconds else "-" for p in names)] for a in findings.arms.values()
    ]
    return Table(
        "Seconds by phase",
        ["arm", *names],
        rows,
        "Means over seeds; evaluation, checkpoints and curve branches are not charged to the budget.",
    )
