"""The scores of a checkpoint as a table of at most 80 columns: a line for each set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.accounting.format import percent
from harness.training.evaluation import CheckpointScores, bounds

NAME = 23  # columns of a set's name; a longer one has a line of its own
HEAD = f"{'task':<{NAME}}{'strict':>7}  {'95 %':<11}{'lenient':>8}{'unparseable':>12}{'truncated':>10}{'n':>7}"


def score_table(scores: CheckpointScores) -> str:
    """Strict and lenient accuracy, and the rates of what has no answer; below a repeated set its pass@k and maj@k.

    Intervals are Wilson's, or over problems where each was sampled several times.
    """
    lines = [HEAD]
    for name in dict.fromkeys(row["task"] for row in scores.rows):
        rows = [row for row in scores.rows if row["task"] == name]
        ours = any(row["filter"] == "strict" for row in rows)
        lines += _set(name, rows, name in scores.repeated) if ours else _stock(name, rows)
    scorers = " and ".join(sorted({row["scorer"] for row in scores.rows}))
    return "\n".join([*lines, "", f"{scores.model}, task {scores.task}; scored by {scorers}."])


def _set(name: str, rows: list[Any], repeated: bool) -> Iterator[str]:
    value = {(r["metric"], r["filter"]): r for r in rows}
    strict = value["exact_match", "strict"]

    def rate(metric: str, filter: str = "strict") -> str:
        return percent(value[metric, filter]["value"]) if (metric, filter) in value else "-"

    low, high = bounds(strict, repeated)
    interval = f"{100 * low:.1f}-{100 * high:.1f}"
    label = f"{name:<{NAME}}" if len(name) < NAME else f"{name}\n{'':<{NAME}}"
    yield (
        f"{label}{rate('exact_match'):>7}  {interval:<11}{rate('exact_match', 'lenient'):>8}"
        f"{rate('unparseable'):>12}{rate('truncated'):>10}{strict['n']:>7,}"
    )
    if errors := value.get(("verifier_error", "strict"), {"value": 0})["value"]:
        yield f"  the verifier failed on {percent(errors)}"
    for kind in ("pass", "maj"):
        if at_k := [f"{r['metric']} {percent(r['value'])}" for r in rows if r["metric"].startswith(f"{kind}@")]:
            yield f"  {'  '.join(at_k)}"


def _stock(name: str, rows: list[Any]) -> Iterator[str]:
    """lm-eval's own numbers, under their own names."""
    yield name
    for r in rows:
        error = f" +- {r['stderr']:.3f}" if r["stderr"] is not None else ""
        what = r["metric"] if r["filter"] == "none" else f"{r['metric']}, {r['filter']}"
        yield f"  {what:<{NAME}} {r['value']:.3f}{error}  n {r['n']:,}"
