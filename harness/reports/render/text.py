"""The prose of a report: comparisons as sentences, numbers as text.  Points are percentage points of accuracy."""

from __future__ import annotations

import dataclasses
import math

from evals.statistics.comparison import AHEAD, BETTER, Paired
from harness.reports.analysis.budget_audit import Audit, Delay
from harness.reports.analysis.hypotheses import HypothesisResult
from harness.reports.analysis.pass_at_k import overtaking_k
from harness.reports.analysis.summary import Block, Findings, Interval, Pair
from harness.studies.schema import START

UNIT_WORDS = {"flops": "FLOPs", "device_seconds": "device seconds"}


def unit(name: str) -> str:
    return UNIT_WORDS.get(name, name.replace("_", " "))


def amount(x: float) -> str:
    """200000 is "200,000", 1e15 is "1e+15", nan "-"."""
    if math.isnan(x):
        return "-"
    return f"{x:,.0f}" if abs(x) < 1e9 else f"{x:.4g}"


def points(x: float | None, sign: bool = False) -> str:
    """A fraction as points, "-" for None and nan: 0.957 is "95.7"; never "-0.0"."""
    if x is None or not math.isfinite(x):
        return "-"
    rounded = round(100 * x, 1) + 0.0
    return f"{rounded:+.1f}" if sign else f"{rounded:.1f}"


def bracket(interval: Interval) -> str:
    return f"[{points(interval[0])}, {points(interval[1])}]" if interval else "-"


def p_value(p: float) -> str:
    return "-" if math.isnan(p) else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def join_words(words: list[str]) -> str:
    """["a", "b", "c"] is "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def seed_list(numbers: list[int]) -> str:
    """[5, 6, 7, 9] is "seeds 5 to 7 and 9"."""
    spans: list[list[int]] = []
    for n in sorted(numbers):
        if spans and n == spans[-1][-1] + 1:
            spans[-1].append(n)
        else:
            spans.append([n])
    words = [str(s[0]) if len(s) == 1 else f"{s[0]} {'to' if len(s) > 2 else 'and'} {s[-1]}" for s in spans]
    return f"seed{'s' * (len(numbers) > 1)} {join_words(words)}"


def _seeds(n: int) -> str:
    return f"{n} seed{'s' * (n != 1)}"


def simultaneous_interval(pair: Pair) -> Interval:
    c = pair.comparison
    return None if math.isnan(c.low) else (c.low, c.high)


def pair_sentence(pair: Pair, margin: float) -> str:
    """One pair in one clause: "ppo is better than grpo by 2.8 points [1.0, 4.6]"."""
    c, a, b = pair.comparison, pair.a, pair.b
    mean, interval = points(c.pair.mean, sign=True), bracket(simultaneous_interval(pair))
    if c.kind in (*BETTER, *AHEAD):
        ahead, behind, ends = (a, b, (c.low, c.high)) if c.kind[0] == "A" else (b, a, (-c.high, -c.low))
        by = f"by {points(abs(c.pair.mean))} points {bracket(ends)}"
        if c.kind in AHEAD:
            return f"{ahead} is ahead of {behind} {by}, within the margin of {margin:g}"
        return f"{ahead} is better than {behind} {by}"
    if c.kind == "equivalent":
        return f"{a} and {b} are equivalent within {margin:g} points ({mean} {interval})"
    if c.kind == "identical":
        return f"{a} and {b} are identical at every seed ({_seeds(c.pair.n)})"
    if c.kind == "undecided":
        detectable = f"{points(c.detectable)} detectable with {_seeds(c.pair.n)}"
        return f"{a} against {b} is undecided ({mean} {interval}; {detectable})"
    return f"{a} and {b} cannot be compared yet ({c.pair.why})"


ORDER = (*BETTER, *AHEAD, "equivalent", "undecided", "identical", "no interval")


def pair_sentences(block: Block, margin: float) -> list[str]:
    """Every pair of a block: better and ahead first, then by the size of the difference."""

    def rank(pair: Pair) -> tuple[int, float]:
        kind = pair.comparison.kind
        return ORDER.index(kind) - ORDER.index(kind) % 2 * (kind in (*BETTER, *AHEAD)), -abs(pair.comparison.pair.mean)

    return [pair_sentence(pair, margin) for pair in sorted(block.pairs, key=rank)]


def headline(findings: Findings, block: Block) -> str:
    """The result of a block in one sentence: every pair if there are at most three, else which arms are better.

    Pairs of arms that were added after the study was locked are not in it.
    """
    block = dataclasses.replace(block, pairs=[pair for pair in block.pairs if not pair.post_hoc])
    budget = findings.results.example.record["budget"]
    at = f"At {amount(budget['limit'])} {unit(budget['unit'])}{f' ({block.name})' if block.name else ''},"
    if any(not pair.comparison.pair.why for pair in block.pairs):
        at = f"{at} {scope_text(block)}:"
    if not block.pairs:
        if not block.arms:
            return f"{at} no arm has a finished run."
        arm = findings.arms[block.arms[0]]
        accuracy = f"{points(arm.mean)} %{f' {bracket(arm.interval)}' if arm.interval else ''}"
        return f"{at} the final accuracy of {arm.name} is {accuracy}; there is no other arm to compare it with."
    if over := _over_placebo(findings, block):
        rest = [p for p in block.pairs if findings.results.study.report.placebo not in (p.a, p.b)]
        block = dataclasses.replace(block, pairs=rest)
        if not rest:
            return f"{at} {over}."
        at = f"{at} {over};"
    if len(block.pairs) <= 3:
        return f"{at} {'; '.join(pair_sentences(block, findings.results.study.report.margin))}."
    return f"{at} {'; '.join([*_separated(block), _undecided(findings, block)])}."


def scope_text(block: Block) -> str:
    """What the words of a block's pairs are about: "in a family of 15 contrasts over 5 seeds and 1,000 problems"."""
    compared = [p.comparison for p in block.pairs if not p.comparison.pair.why]
    if not compared:
        return "in no family, for no pair has an interval"
    m, n = compared[0].family, {c.pair.n for c in compared}
    seeds = f"{min(n)} seeds" if len(n) == 1 else f"{min(n)} to {max(n)} seeds"
    problems = {c.pair.problems for c in compared if c.pair.problems}
    over = f"{seeds} and {max(problems):,} problems" if problems else f"{seeds}, for these problems"
    return f"in a family of {m} contrast{'s' * (m != 1)} over {over}"


def _over_placebo(findings: Findings, block: Block) -> str:
    """What each arm gains over the arm whose rewards say nothing: "over the placebo grpo_coin, grpo gains 40.1 points
    [35.0, 45.2]"; empty where the table has none."""
    placebo, parts = findings.results.study.report.placebo, []
    for pair in block.pairs:
        if placebo in (pair.a, pair.b):
            sign, arm = (1, pair.a) if pair.b == placebo else (-1, pair.b)
            interval = simultaneous_interval(pair)
            ends = interval if interval is None or sign == 1 else (-interval[1], -interval[0])
            shown = bracket(ends) if ends else f"({pair.comparison.pair.why})"
            parts.append(f"{arm} gains {points(sign * pair.comparison.pair.mean, sign=True)} points {shown}")
    return f"over the placebo {placebo}, {join_words(parts)}" if parts else ""


def _separated(block: Block) -> list[str]:
    """One clause per arm that is worse than others, with the range of the differences; most losses first."""
    lost: dict[str, dict[str, Pair]] = {}
    for pair in block.pairs:
        if pair.comparison.kind in BETTER:
            winner, loser = (pair.a, pair.b) if pair.comparison.kind == "A better" else (pair.b, pair.a)
            lost.setdefault(loser, {})[winner] = pair
    clauses = []
    for loser, winners in sorted(lost.items(), key=lambda x: -len(x[1])):
        if len(winners) == 1:
            clauses.append(pair_sentence(next(iter(winners.values())), 0.0))
        else:
            by = [points(x) for x in sorted(abs(pair.comparison.pair.mean) for pair in winners.values())]
            size = by[0] if by[0] == by[-1] else f"{by[0]} to {by[-1]}"
            clauses.append(f"{join_words(list(winners))} are better than {loser} by {size} points")
    return clauses


def _undecided(findings: Findings, block: Block) -> str:
    """The other pairs: "of the other 13 pairs, 5 are equivalent within 2 points and 8 are undecided"."""
    kinds: list[str] = [p.comparison.kind for p in block.pairs if p.comparison.kind not in BETTER]
    kinds = ["ahead" if kind in AHEAD else kind for kind in kinds]
    if not kinds:
        return "in every pair one arm is better"
    margin = f"{findings.results.study.report.margin:g} points"
    words = {"equivalent": f"equivalent within {margin}", "ahead": f"ahead by less than {margin}"}
    words["no interval"] = "without an interval"
    if len(kinds) == 1:
        return f"the other pair is {words.get(kinds[0], kinds[0])}"
    counts = {kind: kinds.count(kind) for kind in ("ahead", *ORDER) if kind in kinds}
    all_pairs = len(kinds) == len(block.pairs)
    if len(counts) == 1:
        return f"{'all' if all_pairs else 'the other'} {len(kinds)} pairs are {words.get(kinds[0], kinds[0])}"
    parts = [f"{n} {'is' if n == 1 else 'are'} {words.get(kind, kind)}" for kind, n in counts.items()]
    return f"of {'' if all_pairs else 'the other '}{len(kinds)} pairs, {join_words(parts)}"


def crossover_text(findings: Findings, pair: Pair) -> str:
    """The budget at the last crossing of A and B: "150,000 [120,000, 180,000]"; "or later": open at the end."""
    limit = findings.results.example.record["budget"]["limit"]
    c = pair.crossover
    if c is None:
        return "-"
    at = "none" if c.at is None else amount(c.at * limit)
    if c.low is None or c.high is None:
        return at
    later = " or later" if c.ends_open else ""
    return f"{at} [{amount(c.low * limit)}, {amount(c.high * limit)}{later}]"


def audit_text(audit: Audit, delay: Delay | None) -> str:
    """How closely spend matches the budget, and how late evaluations ran."""
    within = "within" if audit.holds else "**NOT within**"
    text = (
        f"Largest mismatch between spend and budget: {100 * audit.mismatch:.2f} % or {audit.groups:.1f} groups "
        f"({audit.run}); {within} the tolerance of 1 % or one group."
    )
    if delay is None or delay.lag < 0.001:
        return text
    return (
        f"{text}  An evaluation between start and end runs after the first round that reaches its fraction, up to "
        f"{100 * delay.lag:.1f} % of the budget late ({delay.run}, at {100 * delay.fraction:g} %); comparisons at a "
        "fraction of the budget are interpolated linearly between a run's evaluations."
    )


# --- claims of papers -------------------------------------------------------------------------------------------


def comparison_text(t: HypothesisResult) -> str:
    """What a hypothesis compares: "grpo higher than ppo, `arithmetic` at the end"."""
    h = t.hypothesis
    at, since = _place(h.at), "the start" if h.since == 0 else f"{100 * h.since:g} %"
    task = "the task's own set" if t.task == "in" else f"`{t.task}`"
    metric = f"{task}{'' if h.k is None else f' {h.metric}'}"
    a, b = h.arms[0], "the start" if h.arms[-1] == START else h.arms[-1]
    if h.expect == "gain":
        return f"{a} higher {at} than at {since}, {metric}"
    if h.expect == "slows":
        return f"{a}'s gain from {since} to {100 * h.at:g} % larger than its gain after that, {metric}"
    if h.expect == "gap_closes":
        at_1 = f"{h.metric.partition('@')[0]}@1"
        return f"{a}'s lead over {b} larger in {at_1} than in {h.metric}, {task} {at}"
    words = {"above": "higher than", "not_above": "not higher than", "not_below": "not lower than"}
    pair = f"{a} and {b} equivalent" if h.expect == "alike" else f"{a} {words[h.expect]} {b}"
    return f"{pair}, {metric} {at}"


def _place(fraction: float) -> str:
    return "at the end" if fraction == 1 else f"at {100 * fraction:g} %"


def hypothesis_sentence(t: HypothesisResult) -> str:
    """One hypothesis in one line, its verdict first; numbers only if something was measured."""
    c, text = t.comparison, f"**{t.hypothesis.id} {t.verdict}**: {comparison_text(t)}"
    if t.missing or not c.pair.n:
        return text
    interval = c.pair.why or bracket((c.low, c.high))
    return f"{text} ({points(c.pair.mean, sign=True)} {interval}, {over_text(c.pair)})"


def over_text(pair: Paired) -> str:
    """What a difference is an average over: "5 seeds, 500 problems"; over seeds alone: "5 seeds"."""
    return f"{_seeds(pair.n)}, {pair.problems:,} problems" if pair.problems else _seeds(pair.n)


def overtaking_text(findings: Findings) -> str:
    """The K at which the start model reaches an arm: "The start model's mean reaches that of grpo at pass@16."."""
    curves = dict.fromkeys((x.task, x.kind) for x in findings.at_k if x.gain)
    reached: list[str] = []
    below: list[str] = []
    for task, kind in curves:
        for arm in findings.arms:
            k = overtaking_k(findings.at_k, task, kind, arm)
            (below if k is None else reached).append(f"{arm} in {kind}@K" if k is None else f"{arm} at {kind}@{k}")
    sentences = [f"The start model's mean reaches that of {join_words(reached)}." if reached else ""]
    sentences += [f"It stays below {join_words(below)} at every K." if below else ""]
    return "  ".join(filter(None, sentences))
