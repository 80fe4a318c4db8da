"""The tables of a report, as text cells: what is shown in report.md, table.tex and report.html cannot disagree."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from evals.statistics.comparison import FEWEST
from harness.accounting.budget import UNITS
from harness.accounting.format import count, flops, size
from harness.reports.analysis.hypotheses import Judged
from harness.reports.analysis.logged_metrics import QUARTERS, names
from harness.reports.analysis.summary import Arm, Block, Findings
from harness.reports.render.text import (
    amount,
    bracket,
    caught_up,
    compared,
    crossing,
    p_value,
    points,
    simultaneous,
    unit,
)


@dataclass(frozen=True)
class Table:
    """A title, column names, rows of text, and what the reader must know of them."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        lines = [_row(self.columns), "|---" * len(self.columns) + "|", *map(_row, self.rows)]
        return "\n".join(lines)

    def latex(self) -> str:
        """A booktabs tabular; the first column is words, the others are numbers."""
        head, *body = [" & ".join(map(_tex, cells)) + r" \\" for cells in (self.columns, *self.rows)]
        spec = "l" + "r" * (len(self.columns) - 1)
        return "\n".join(
            [
                rf"\begin{{tabular}}{{{spec}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
TEX |= {c: f"\\{c}" for c in "_%&#{}$"}


def _tex(cell: str) -> str:
    """Plain text for LaTeX."""
    return "".join(TEX.get(c, c) for c in cell)


def accuracy(findings: Findings, block: Block) -> Table:
    """The main table of a block."""
    f, level = findings, findings.results.study.report.level
    others = [t.name for t in f.results.tasks if t.name != f.endpoint.name]
    halves = sorted((x for x in f.results.fractions if 0 < x < 1), key=lambda x: abs(x - 0.5))[:1]
    columns = ["arm", *_tuned_names(f), "seeds", f.endpoint.name, "95 %", "IQM", *(f"at {100 * x:g} %" for x in halves)]
    columns += [*others, f"{unit(_budget(f))} to {100 * level:g} %", "silent groups", "collapsed", "95 %, exact"]
    rows = []
    if f.start:
        first = ["start", *[""] * (len(_tuned_names(f)) + 1), points(f.start[f.endpoint.name]), "", ""]
        rows.append([*first, *[""] * len(halves), *(points(f.start[t]) for t in others), *[""] * 4])
    for arm in (f.arms[name] for name in block.arms):
        tuned = [f"{x:g}" if isinstance(x, float) else str(x) for x in arm.tuned.values()]
        interval = bracket(arm.interval) if arm.interval else f"{FEWEST} seeds at least"
        row = [arm.name, *tuned, str(arm.finished), points(arm.mean), interval, points(arm.iqm)]
        row += [points(arm.matched.mean_F[f.results.fractions.index(x)]) for x in halves]
        row += [points(arm.curves[t].mean_F[-1]) for t in others]
        row += [amount(arm.reached) if math.isfinite(arm.reached) else "never"]
        row += ["-" if arm.silent is None else f"{100 * arm.silent:.0f} %"]
        known = sum(s.status.startswith(("finished", "failed")) for s in arm.seeds)
        rows.append([*row, f"{arm.collapsed} of {known}", bracket(arm.collapse_interval)])
    note = (
        f"Strict accuracy in percent at the end of the budget, means over seeds; `{f.endpoint.name}` is the primary "
        f"endpoint, with its t-interval over seeds ({f.endpoint.n:,} problems, {f.endpoint.decoding}).  "
        f"{_described(f)}  Collapsed: failed, or more than 10 points below the start at temperature 1 (exact interval)."
    )
    return Table(block.name or "Accuracy", columns, rows, note)


def _budget(f: Findings) -> str:
    return str(f.results.one.record["budget"]["unit"])


def _tuned_names(f: Findings) -> list[str]:
    return [name.split(".")[-1] for name in f.results.study.tune.grid] if f.results.study.tune else []


def _described(f: Findings) -> str:
    kinds = {"in": "in domain", "out": "out of domain", "retention": "retention: what may be forgotten"}
    said = []
    for kind, words in kinds.items():
        names = [
            f"`{t.name}`{f' (temperature {t.temperature:g})' if t.temperature else ''}"
            for t in f.results.tasks
            if t.domain == kind
        ]
        if names:
            said.append(f"{words}: {', '.join(names)}")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def pairs(findings: Findings, block: Block) -> Table:
    columns = ["A", "B", "A - B", "95 %, simultaneous", "p (Holm)", "verdict", "could show", "r", "P(A > B)"]
    columns += ["95 %, seeds and problems", "crossover"]
    rows = []
    for pair in block.pairs:
        v, r = pair.verdict, pair.verdict.pair.correlation
        shown = {"A better": f"{pair.a} better", "B better": f"{pair.b} better"}.get(v.kind, v.kind)
        row = [pair.a, pair.b, points(v.pair.mean, sign=True), v.pair.why or bracket(simultaneous(pair))]
        row += [p_value(v.p_holm), shown, points(v.detectable), "-" if math.isnan(r) else f"{r:.2f}"]
        rows.append([*row, f"{pair.improvement:.2f}", bracket(pair.crossed), crossing(findings, pair)])
    m = sum(not p.verdict.pair.why for p in block.pairs)
    note = (
        f"Points of `{findings.endpoint.name}`.  Paired t over seeds; Holm over {m} pair{'s' * (m != 1)}; the interval "
        f"holds for all of them at once (Bonferroni, cut at 0 where Holm alone separates).  Equivalent: it lies within "
        f"{findings.results.study.report.margin:g} points.  Could show: the difference that these seeds would have "
        f"separated with probability 0.8.  r: correlation of the pairs.  P(A > B): of one run each.  Crossover: their "
        f"last change of places after the start, in {unit(_budget(findings))}, with its interval and the share of "
        f"resampled seeds that show none."
    )
    return Table(f"Pairs{f', {block.name}' if block.name else ''}", columns, rows, note)


def spend(findings: Findings) -> Table:
    """What each arm used in every unit, so that a reader sees what "equal" hides."""
    columns = ["arm", *(unit(u) for u in UNITS), "peak memory"]

    def cell(arm: Arm, u: str) -> str:
        x = arm.spend_F[u][-1]
        return flops(x) if u == "flops" else f"{x:,.1f}" if u == "device_seconds" else count(x)

    rows = [[arm.name, *(cell(arm, u) for u in UNITS), size(arm.peak_bytes)] for arm in findings.arms.values()]
    return Table("Spend", columns, rows, "Means over seeds.  Peak memory is of the whole process.")


def seeds(findings: Findings) -> Table:
    """Every run's endpoint, or why it has none."""
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
    """Every trial of every arm: the tuning seeds' values, the chosen one marked."""
    names = list(dict.fromkeys(t.name for trials in findings.trials.values() for t in trials))
    rows = []
    for arm, trials in findings.trials.items():
        shown = {t.name: " ".join(map(points, t.values)) + (" *" if t.chosen else "") for t in trials}
        rows.append([arm, *(shown.get(name, "-") for name in names)])
    tune = findings.results.study.tune
    used = f"seeds {', '.join(map(str, tune.seeds))}, " if tune else ""
    total = sum(v is not None for t in itertools.chain(*findings.trials.values()) for v in t.values)
    note = (
        f"Strict greedy accuracy on the selection split at the end of each trial ({used}not used again); * chosen by "
        f"the mean.  {total} trial runs in all."
    )
    return Table("Tuning", ["arm", *names], rows, note)


def at_k(findings: Findings) -> Table:
    """pass@k and maj@k at the end, a row a metric: the start model, then the arms and their distance from it."""
    f, several = findings, len({x.task for x in findings.at_k}) > 1
    rows = []
    for x in f.at_k:
        row = [f"{x.task} {x.metric}" if several else x.metric, *([points(x.start)] if x.start is not None else [])]
        for arm, mean in x.mean.items():
            gain, interval = x.gain.get(arm, (None, None))
            far = "" if gain is None else f" ({points(gain, sign=True)}{f' {bracket(interval)}' if interval else ''})"
            row.append(points(mean) + far)
        rows.append(row)
    begun = any(x.start is not None for x in f.at_k)
    tasks = ", ".join(f"`{t}`" for t in dict.fromkeys(x.task for x in f.at_k))
    note = f"Percent, without bias, from the samples of {tasks} at temperature 1; means over seeds."
    if begun:
        note += "  In brackets: distance from the start model, with its t-interval over seeds, each on its own (95 %)."
        note = f"{note}  {caught_up(f)}"
    return Table("pass@k and maj@k", ["metric", *(["start"] if begun else []), *f.arms], rows, note)


def logged(findings: Findings) -> Table:
    """A row a metric and arm: what the rounds of each quarter of the budget logged, on average."""
    rows = []
    for of in findings.logged:
        for arm, quarters in of.mean.items():
            rows.append([of.metric, arm, *("-" if x is None else f"{x:.3g}" for x in quarters)])
    note = "Means over completions, then seeds; a round counts where it ends."
    if unknown := [of.metric for of in findings.logged if not of.known]:
        note += f"  No round has {', '.join(unknown)}; valid: {', '.join(names(findings.results))}."
    columns = ["metric", "arm", *(f"to {100 * (i + 1) // QUARTERS} %" for i in range(QUARTERS))]
    return Table("What the rounds logged", columns, rows, note)


def hypotheses(findings: Findings) -> Table:
    """A row a hypothesis: what is claimed, what was compared, and what came of it."""
    rows = [
        [t.hypothesis.id, t.hypothesis.says, compared(t), *outcome(t), t.hypothesis.settle] for t in findings.hypotheses
    ]
    columns = ["", "claim", "compared", *OUTCOME, "what would settle it"]
    m = sum(not t.verdict.pair.why for t in findings.hypotheses)
    notes = [f"{t.hypothesis.id}: {t.hypothesis.note}" for t in findings.hypotheses if t.hypothesis.note]
    sources = [t.hypothesis.source for t in findings.hypotheses if t.hypothesis.source]
    note = (
        f"Points.  Paired differences over seeds; Holm over the {m} that can be judged, and intervals that hold for "
        f"all of them at once.  A difference is reproduced where it is separated and as claimed (within the "
        f"margin: shown to be below {findings.results.study.report.margin:g} points too); not reproduced where it is "
        f"separated the other way, or shown to be within them and no more.  "
        f"Likeness is reproduced where it is shown to be within them, not above and not below where one end of the "
        f"interval is.  Intervals are over seeds, of these problems.  Could show: the difference that these seeds "
        f"would have separated with probability 0.8."
    )
    said = [note, *dict.fromkeys(notes), f"Sources: {'; '.join(dict.fromkeys(sources))}." if sources else ""]
    return Table("Hypotheses", columns, rows, "  ".join(filter(None, said)))


OUTCOME = ("difference", "95 %, simultaneous", "seeds", "could show", "verdict")


def outcome(t: Judged) -> list[str]:
    """The cells of OUTCOME."""
    v = t.verdict
    interval = v.pair.why or bracket((v.low, v.high))
    return [points(v.pair.mean, sign=True), interval, str(v.pair.n), points(v.detectable), t.word]


def memory(findings: Findings) -> Table:
    parts = list(dict.fromkeys(p for arm in findings.arms.values() for p in arm.memory))
    rows = [[a.name, *(size(a.memory[p]) if p in a.memory else "-" for p in parts)] for a in findings.arms.values()]
    return Table("Memory by part", ["arm", *(p.replace("_", " ") for p in parts)], rows, "Tensor bytes, measured.")


def phases(findings: Findings) -> Table:
    names = list(dict.fromkeys(p for arm in findings.arms.values() for p in arm.seconds))
    rows = [
        [a.name, *(f"{a.seconds[p]:.1f}" if p in a.seconds else "-" for p in names)] for a in findings.arms.values()
    ]
    return Table(
        "Seconds by phase",
        ["arm", *names],
        rows,
        "Means over seeds; evaluation, checkpoints and branches are not charged.",
    )


def raw(findings: Findings) -> str:
    """table.csv: a row an arm, shares and bytes at full precision."""
    text = io.StringIO()
    tasks = [t.name for t in findings.results.tasks]
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{t}{end}" for t in tasks for end in ("", "_low", "_high")]
    writer.writerow(["arm", "seeds", *ends, "sd", "iqm", "reached", "silent", "collapsed", *UNITS, "peak_bytes"])
    for a in findings.arms.values():
        values = [x for t in tasks for x in (a.curves[t].mean_F[-1], *(a.curves[t].interval_F[-1] or ("", "")))]
        spent = [a.spend_F[u][-1] for u in UNITS]
        writer.writerow(
            [a.name, a.finished, *values, a.sd, a.iqm, a.reached, a.silent, a.collapsed, *spent, a.peak_bytes]
        )
    return text.getvalue()
