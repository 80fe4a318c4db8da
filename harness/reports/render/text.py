"""The words of a report: verdicts as sentences, numbers as text.  Points are percentage points of accuracy."""

from __future__ import annotations

import math

from harness.reports.analysis.hypotheses import Judged
from harness.reports.analysis.interpolation import Late
from harness.reports.analysis.pass_at_k import crossing as overtaken
from harness.reports.analysis.summary import Audit, Block, Findings, Interval, Pair
from harness.studies.schema import START

UNIT_WORDS = {"flops": "FLOPs", "device_seconds": "device seconds"}


def unit(name: str) -> str:
    return UNIT_WORDS.get(name, name.replace("_", " "))


def amount(x: float) -> str:
    """200000 is "200,000", 1e15 is "1e+15"."""
    return f"{x:,.0f}" if abs(x) < 1e9 else f"{x:.4g}"


def points(x: float | None, sign: bool = False) -> str:
    """A share as points, "-" where there is none: 0.957 is "95.7"; never "-0.0"."""
    if x is None or not math.isfinite(x):
        return "-"
    rounded = round(100 * x, 1) + 0.0
    return f"{rounded:+.1f}" if sign else f"{rounded:.1f}"


def bracket(interval: Interval) -> str:
    return f"[{points(interval[0])}, {points(interval[1])}]" if interval else "-"


def p_value(p: float) -> str:
    return "-" if math.isnan(p) else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def listed(words: list[str]) -> str:
    """["a", "b", "c"] is "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def seeds_named(numbers: list[int]) -> str:
    """[5, 6, 7, 9] is "seeds 5 to 7 and 9"."""
    spans: list[list[int]] = []
    for n in sorted(numbers):
        if spans and n == spans[-1][-1] + 1:
            spans[-1].append(n)
        else:
            spans.append([n])
    words = [str(s[0]) if len(s) == 1 else f"{s[0]} {'to' if len(s) > 2 else 'and'} {s[-1]}" for s in spans]
    return f"seed{'s' * (len(numbers) > 1)} {listed(words)}"


def simultaneous(pair: Pair) -> Interval:
    v = pair.verdict
    return None if math.isnan(v.low) else (v.low, v.high)


def verdict(pair: Pair, margin: float) -> str:
    """One pair in one clause: "ppo beats grpo by 0.8 points [0.0, 1.6]"."""
    v, a, b = pair.verdict, pair.a, pair.b
    n, mean, interval = v.pair.n, points(v.pair.mean, sign=True), bracket(simultaneous(pair))
    seeds = f"{n} seed{'s' * (n != 1)}"
    if v.kind == "A better":
        return f"{a} beats {b} by {points(v.pair.mean)} points {interval}"
    if v.kind == "B better":
        return f"{b} beats {a} by {points(-v.pair.mean)} points {bracket((-v.high, -v.low))}"
    if v.kind == "equivalent":
        return f"{a} and {b} are equivalent within {margin:g} points ({mean} {interval})"
    if v.kind == "identical":
        return f"{a} and {b} are identical, seed by seed ({seeds})"
    if v.kind == "not separated":
        return f"{a} and {b} are not separated ({mean} {interval}; {seeds} could have shown {points(v.detectable)})"
    return f"{a} and {b} cannot be compared yet ({v.pair.why})"


ORDER = ("A better", "B better", "equivalent", "not separated", "identical", "no interval")


def verdicts(block: Block, margin: float) -> list[str]:
    """Every pair of a block: what is separated first, the largest difference first."""

    def place(pair: Pair) -> tuple[int, float]:
        return max(1, ORDER.index(pair.verdict.kind)), -abs(pair.verdict.pair.mean)

    return [verdict(pair, margin) for pair in sorted(block.pairs, key=place)]


def headline(findings: Findings, block: Block) -> str:
    """The block's verdict in one sentence: every pair of up to three, else who is beaten by whom."""
    budget = findings.results.one.record["budget"]
    at = f"At {amount(budget['limit'])} {unit(budget['unit'])}{f' ({block.name})' if block.name else ''}"
    if not block.pairs:
        if not block.arms:
            return f"{at} no arm has a finished run."
        arm = findings.arms[block.arms[0]]
        ends = f"{points(arm.mean)} %{f' {bracket(arm.interval)}' if arm.interval else ''}"
        return f"{at} {arm.name} ends at {ends}; there is nothing to compare it with."
    if len(block.pairs) <= 3:
        return f"{at} {'; '.join(verdicts(block, findings.results.study.report.margin))}."
    return f"{at} {'; '.join([*_beaten(block), _undecided(findings, block)])}."


def _beaten(block: Block) -> list[str]:
    """A clause for each arm that is beaten, by whom and by how much; the one that most have beaten first."""
    lost: dict[str, dict[str, Pair]] = {}
    for pair in block.pairs:
        if pair.verdict.kind in ("A better", "B better"):
            winner, loser = (pair.a, pair.b) if pair.verdict.kind == "A better" else (pair.b, pair.a)
            lost.setdefault(loser, {})[winner] = pair
    said = []
    for loser, winners in sorted(lost.items(), key=lambda x: -len(x[1])):
        if len(winners) == 1:
            said.append(verdict(next(iter(winners.values())), 0.0))
        else:
            by = [points(x) for x in sorted(abs(pair.verdict.pair.mean) for pair in winners.values())]
            size = by[0] if by[0] == by[-1] else f"{by[0]} to {by[-1]}"
            said.append(f"{listed(list(winners))} each beat {loser}, by {size} points")
    return said


def _undecided(findings: Findings, block: Block) -> str:
    """The pairs that no arm has won: "of the other 13 pairs 5 are equivalent within 2 points, 8 not separated"."""
    kinds = [p.verdict.kind for p in block.pairs if p.verdict.kind not in ("A better", "B better")]
    if not kinds:
        return "every pair is separated"
    words = {"equivalent": f"equivalent within {findings.results.study.report.margin:g} points"}
    words["no interval"] = "without an interval"
    counts = [(kinds.count(kind), words.get(kind, kind)) for kind in ORDER if kind in kinds]
    if len(kinds) == 1:
        return f"the other pair is {words.get(kinds[0], kinds[0])}"
    whole = f"of {'the other ' if len(kinds) < len(block.pairs) else ''}{len(kinds)} pairs"
    first, *others = [f"{n} {word}" for n, word in counts]
    return (
        f"{whole} {first.replace(' ', ' is ' if counts[0][0] == 1 else ' are ', 1)}{''.join(f', {o}' for o in others)}"
    )


def crossing(findings: Findings, pair: Pair) -> str:
    """Where A and B last change places on the budget axis: "150,000 [120,000, 180,000]; none in 12 %"."""
    limit = findings.results.one.record["budget"]["limit"]
    c = pair.crossover
    if c is None:
        return "-"
    if c.low is None or c.high is None:
        return "none"
    at = "none" if c.at is None else amount(c.at * limit)
    return f"{at} [{amount(c.low * limit)}, {amount(c.high * limit)}]; none in {100 * c.none:.0f} %"


def audit(a: Audit, late: Late | None) -> str:
    said = "within" if a.holds else "**NOT within**"
    end = (
        f"Largest mismatch between spend and budget: {100 * a.share:.2f} % or {a.groups:.1f} groups ({a.run}); "
        f"{said} the bar of 1 % or one group."
    )
    if late is None or late.share < 0.001:
        return end
    return (
        f"{end}  Between start and end an evaluation falls on the first whole round that reaches its fraction, up to "
        f"{100 * late.share:.1f} % of the budget late ({late.run}, at {100 * late.fraction:g} %): what is compared "
        "there is read at the fraction itself, by straight lines between a run's own points."
    )


def notes(findings: Findings) -> list[str]:
    """What a reader must know before quoting: runs that are missing or failed, thin or edged tuning, odd machines."""
    found = []
    for arm in findings.results.study.arms:
        known = findings.arms.get(arm)
        if known is None:
            runs = findings.results.runs.get(arm, {})
            why = "; ".join(f"seed {s}: {r.status}" for s, r in runs.items()) or "no run yet"
            found.append(f"{arm} has no finished run ({why}) and is in no table.")
            continue
        missing: dict[str, list[int]] = {}
        for s in known.seeds:
            if s.value is None:
                missing.setdefault(s.status, []).append(s.seed)
        if missing:
            without = [f"{seeds_named(numbers)} ({status})" for status, numbers in missing.items()]
            found.append(f"{arm}: without {listed(without)}; pairs with it have fewer seeds.")
    study = findings.results.study
    for arm in (arm for arm in study.arms if study.tune and study.tuned_as(arm) != arm):
        found.append(f"{arm} was not tuned: it runs at what the trials of {study.tuned_as(arm)} chose.")
    had, tried = findings.results.one.record["config"]["budget"], study.tune.base.get("budget") if study.tune else None
    if tried and tried != had:
        found.append(
            f"Trials had {_limit(tried)}, runs {_limit(had)}: what is best for the one need not be for the other."
        )
    edges = [arm for arm, trials in findings.trials.items() if _edge(findings, arm)]
    if len(edges) == 1:
        found.append(
            f"The best trial of {edges[0]} lies at an edge of its grid: a better value may lie outside, for it alone."
        )
    elif edges:
        found.append(
            f"The best trials of {listed(edges)} lie at an edge of their grids: better values may lie outside, for "
            f"them alone."
        )
    for name, values in _variety(findings).items():
        if len(values) > 1:
            found.append(f"The runs differ in {name}: {listed(sorted(map(str, values)))}.")
    return found


def _limit(budget: str) -> str:
    """ "completions=5120" -> "5,120 completions"."""
    name, _, limit = budget.partition("=")
    return f"{amount(float(limit))} {unit(name)}"


def _edge(findings: Findings, arm: str) -> bool:
    tune = findings.results.study.tune
    if tune is None or arm not in findings.arms:
        return False
    grids = [(findings.arms[arm].tuned.get(name), sorted(values)) for name, values in tune.grid.items()]
    return any(x in (v[0], v[-1]) for x, v in grids if len(v) > 1 and all(type(y) in (int, float) for y in v))


def _variety(findings: Findings) -> dict[str, set[object]]:
    found: dict[str, set[object]] = {"commit": set(), "device": set(), "threads": set(), "torch": set()}
    for run in findings.results:
        e = run.record["environment"]
        found["commit"].add(f"{str(e['commit'])[:10]}{' with local changes' if e['dirty'] else ''}")
        found["device"].add(f"{e['device']} ({e.get('cpu', '')})")
        found["threads"].add(e["threads"])
        found["torch"].add(e["packages"]["torch"])
    return found


# --- claims of papers -------------------------------------------------------------------------------------------


def compared(t: Judged) -> str:
    """What a hypothesis looks at: "grpo above ppo, `arithmetic` at the end"."""
    h = t.hypothesis
    place = "at the end" if h.at == 1 else f"at {100 * h.at:g} %"
    task = "the task's own set" if t.task == "in" else f"`{t.task}`"
    of = f"{task}{'' if h.k is None else f' {h.metric}'}"
    a, b = h.arms[0], "the start" if h.arms[-1] == START else h.arms[-1]
    if h.expect == "gain":
        return f"{a} {place} above itself at {'the start' if h.since == 0 else f'{100 * h.since:g} %'}, {of}"
    if h.expect == "slows":
        since = "the start" if h.since == 0 else f"{100 * h.since:g} %"
        return f"{a}'s gain from {since} to {100 * h.at:g} % above its gain from there on, {of}"
    if h.expect == "gap_closes":
        one = f"{h.metric.partition('@')[0]}@1"
        return f"{a}'s lead over {b}: {one} above {h.metric}, {task} {place}"
    pair = f"{a} and {b} alike" if h.expect == "alike" else f"{a} {h.expect.replace('_', ' ')} {b}"
    return f"{pair}, {of} {place}"


def claim(t: Judged) -> str:
    """One hypothesis in one line, its verdict first; a number only where something has been measured."""
    v, said = t.verdict, f"**{t.hypothesis.id} {t.word}**: {compared(t)}"
    if t.missing or not v.pair.n:
        return said
    interval = v.pair.why or bracket((v.low, v.high))
    return f"{said} ({points(v.pair.mean, sign=True)} {interval}, {v.pair.n} seed{'s' * (v.pair.n != 1)})"


def caught_up(findings: Findings) -> str:
    """Where the start model's curve meets an arm's: "The start is not below grpo from pass@16 on"."""
    curves = dict.fromkeys((x.task, x.kind) for x in findings.at_k if x.gain)
    met: list[str] = []
    led: list[str] = []
    for task, kind in curves:
        for arm in findings.arms:
            k = overtaken(findings.at_k, task, kind, arm)
            (led if k is None else met).append(f"{arm} in {kind}@K" if k is None else f"{arm} at {kind}@{k}")
    said = [f"The start's mean is first not below {listed(met)}." if met else ""]
    said += [f"It is below {listed(led)} at every K." if led else ""]
    return "  ".join(filter(None, said))
