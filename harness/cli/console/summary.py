"""The summary of a run as tables: all cells as text (`rows`), and their layout on a terminal (`Tables`).

A missing value is "-": of an interrupted run, an evaluation that was not made, a phase of zero seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from evals.statistics.estimates import Z, wilson
from harness.accounting.budget import UNITS
from harness.accounting.format import count, flops, percent, point, size, visible
from harness.accounting.profiler import CHARGED, PARTS, PHASES

Row = dict[str, str]
Record = Mapping[str, Any]  # of record.json, which may be incomplete
Point = dict[str, Mapping[str, Any]]  # measure -> the record's row: one set at one fraction of the budget
DOMAINS = {"in": "in domain", "out": "out of domain", "retention": "retention"}
MEASURES = ("strict", "lenient", "unparseable", "truncated", "verifier_error")
NAMES = {"flops": "FLOPs", "device_seconds": "device time", "kv_cache": "KV cache", "eval": "evaluation"}
PART_NAMES = {**NAMES, "critic": "value model"}
WORDS = ("how", "result", "charged", "domain", "decoding", "scorer")  # columns of words, not numbers
FOLDED = {"unparseable": "un-\nparseable", "truncated": "trun-\ncated", "95 % interval": "95 %\ninterval"}
WIDE = 96  # console columns from which tables have their full spacing


def heading(record: Record) -> str:
    """The run and its status: "grpo, arithmetic, nano, seed 0: finished"."""
    config = record.get("config") or {}
    words = [record.get("algo"), config.get("task_name"), config.get("model"), f"seed {record.get('seed', '-')}"]
    status, reason = str(record.get("status", "unknown")), str(record.get("reason") or "")
    if reason:
        status = reason if reason.startswith(status) else f"{status}: {reason}"
    return f"{', '.join(str(w) for w in words if w)}: {' '.join(status.split())}"


def rows(record: Record) -> dict[str, list[Row]]:
    """All tables, as text: the keys are evals, spend, phases, memory, checks."""
    device = str((record.get("environment") or {}).get("device") or "")
    exact = device.startswith("cpu") and (record.get("config") or {}).get("dtype") != "bfloat16"
    return {
        "evals": eval_rows(record.get("evals") or []),
        "spend": _spend_rows(record.get("spend") or {}, record.get("budget") or {}),
        "phases": _phase_rows(record.get("phases") or {}),
        "memory": _memory_rows(record.get("memory") or {}, device),
        "checks": _check_rows(
            record.get("checks") or {},
            1e-3 if exact else 0.5,  # as `harness.training.metrics.warnings`
            (record.get("spend") or {}).get("updates", 0),
        ),
    }


def eval_rows(evals: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row per task and decoding, in-domain first, with its first and its last evaluation.

    Our own tasks have their strict and lenient accuracy in one row; a stock lm-eval task has one row for each of
    its metrics and filters.  A single evaluation counts as the first.
    """
    ours = {e["task"] for e in evals if e["filter"] == "strict"}
    lines: dict[tuple[Any, ...], dict[float, Point]] = {}
    for e in evals:
        own, metric = e["task"] in ours, e["metric"]
        key = (e["task"], e["decoding"], e["temperature"], "" if own else f"{metric} {e['filter']}")
        measure = (e["filter"] if metric == "exact_match" else metric) if own else "strict"
        lines.setdefault(key, {}).setdefault(e["fraction"], {})[measure] = e
    places = sorted({e["fraction"] for e in evals})
    table_rows = [_eval_row(key, points, places[0], places[-1]) for key, points in lines.items()]
    order = list(DOMAINS.values())
    return sorted(table_rows, key=lambda r: order.index(r["domain"]) if r["domain"] in order else len(order))


def _eval_row(key: tuple[Any, ...], points: dict[float, Point], start: float, end: float) -> Row:
    task, decoding, temperature, stock = key
    shown = [e for measures in points.values() for name, e in measures.items() if name in MEASURES]
    entries = shown or [e for measures in points.values() for e in measures.values()]  # not a task's own measures
    decoding_name = stock.removesuffix(" none") or (f"sampled T={temperature:g}" if decoding == "sampled" else decoding)
    domain, n, scorer = (entries[-1][name] for name in ("domain", "n", "scorer"))
    row = {
        "task": task,
        "domain": DOMAINS.get(domain, domain),
        "decoding": decoding_name,
        "n": count(n),
        "scorer": scorer,
    }
    row |= {"at_first": point(start), "at_last": point(end) if end > start else ""}
    is_fraction = all(0 <= e["value"] <= 1 for e in entries)  # a stock metric may be anything
    ends = {"first": points.get(start, {}), "last": points.get(end, {}) if end > start else {}}
    for where, measures in ends.items():
        for name in MEASURES:
            value = measures[name]["value"] if name in measures else None
            row[f"{name}_{where}"] = percent(value) if is_fraction or value is None else f"{value:.4g}"
        row[f"interval_{where}"] = _interval(measures["strict"]) if "strict" in measures and is_fraction else "-"
    strict = [measures["strict"]["value"] for measures in ends.values() if "strict" in measures]
    change = strict[-1] - strict[0] if len(strict) == 2 else None
    row["change"] = (
        "-" if change is None else f"{round(100 * change, 1) + 0.0:+.1f}" if is_fraction else f"{change:+.4g}"
    )
    return row


def _interval(e: Mapping[str, Any]) -> str:
    value, n, stderr = e["value"], e["n"], e.get("stderr")
    if stderr is not None and n > 1 and abs(stderr - (value * (1 - value) / (n - 1)) ** 0.5) > 1e-9 + 1e-6 * stderr:
        # several samples of each problem are not so many independent draws
        return f"{100 * max(value - Z * stderr, 0):.1f}-{100 * min(value + Z * stderr, 1):.1f}"
    hits = value * n
    if abs(hits - round(hits)) > 1e-6 * max(1, e["n"]):  # not a mean of 0s and 1s
        return "-"
    low, high = wilson(round(hits), n)
    return f"{100 * low:.1f}-{100 * high:.1f}"


def _spend_rows(spend: dict[str, float], budget: dict[str, Any]) -> list[Row]:
    def text(unit: str, x: float | None) -> str:
        if unit == "device_seconds" and x is not None:
            return f"{x:,.1f} s"
        return flops(x) if unit == "flops" else count(x)

    table_rows = []
    for unit in (*UNITS, *(u for u in spend if u not in UNITS)):
        used, limit = spend.get(unit), budget.get("limit") if unit == budget.get("unit") else None
        row = {"unit": NAMES.get(unit, unit.replace("_", " ")), "spent": text(unit, used), "budget": "", "used": ""}
        if limit:
            row |= {"budget": text(unit, limit), "used": percent(used / limit if used is not None else None)}
        table_rows.append(row)
    return table_rows


def _phase_rows(phases: dict[str, dict[str, float]]) -> list[Row]:
    entered = {n: p for n, p in phases.items() if p.get("seconds") or p.get("tokens") or p.get("peak_bytes")}
    total = sum(p.get("seconds", 0.0) for p in entered.values())

    def row(name: str, p: dict[str, float], charged: str) -> Row:
        seconds, tokens = p.get("seconds", 0.0), p.get("tokens", 0)
        return {
            "phase": NAMES.get(name, name),
            "seconds": f"{seconds:,.1f}",
            "share": percent(seconds / total) if total else "-",
            "tokens": count(tokens) if tokens else "-",
            "tokens/s": count(tokens / seconds) if tokens and seconds else "-",
            "peak memory": size(p.get("peak_bytes") or None),
            "charged": charged,
        }

    order = [n for n in (*PHASES, *(n for n in entered if n not in PHASES)) if n in entered]
    table_rows = [row(n, entered[n], "yes" if n in CHARGED else "no") for n in order]
    peak = max((p.get("peak_bytes", 0) for p in entered.values()), default=0)
    return [*table_rows, row("total", {"seconds": total, "peak_bytes": peak}, "")] if table_rows else []


def _memory_rows(memory: dict[str, Any], device: str) -> list[Row]:
    parts = memory.get("parts") or {}
    names = [n for n in (*PARTS, *(n for n in parts if n not in PARTS)) if n in parts]
    sizes = [(PART_NAMES.get(n, n.replace("_", " ")), parts[n].get("bytes"), parts[n].get("how", "-")) for n in names]
    if memory.get("peak_bytes"):
        whole = "allocator" if device.startswith("cuda") else "whole process"
        sizes.append(("peak", memory["peak_bytes"], f"measured, {whole}" if device else "measured"))
    return [{"part": name, "size": size(x), "how": how} for name, x, how in sizes]


FIRST_UPDATE = "first_update_max_abs_logratio"
SELF_CHECKS = {
    "self_check_sampler": "the sampler's log-probabilities",
    "self_check_trainer": "the trainer's log-probabilities",
    "self_check_checkpointed_gradient": "the gradient of layers that are computed again",
}


def _check_rows(checks: dict[str, float], allowed: float, updates: float) -> list[Row]:
    table_rows: list[Row] = []
    if updates and FIRST_UPDATE not in checks:
        table_rows.append({"check": "first update", "result": "no completion was read again: nothing was checked"})
    for name, value in checks.items():
        result = f"{value:.3g}" if isinstance(value, int | float) else str(value)
        if what := SELF_CHECKS.get(name):
            name, result = "self-check", f"{what} within {result} of the model's own, each row alone"
        if name == FIRST_UPDATE:
            verdict = "agree, log-probabilities within" if value <= allowed else "DISAGREE, log-probabilities apart by"
            name, result = "first update", f"sampler and trainer {verdict} {result} ({allowed:g} allowed)"
        table_rows.append({"check": name.replace("_", " "), "result": result})
    return table_rows


def notes(evals: list[Row]) -> list[str]:
    """The lines below the table of evaluations."""
    if not evals:
        return ["No evaluation was made."]
    scorers = " and ".join(sorted({r["scorer"] for r in evals}))
    lines = ["95 % Wilson intervals; change in points of strict accuracy.", f"Scored by {scorers}."]
    for r in evals:
        failed = {r[f"at_{w}"]: r[f"verifier_error_{w}"] for w in ("first", "last")}
        rates = [f"{rate} ({place})" for place, rate in failed.items() if rate not in ("-", "0.0 %")]
        if rates:
            lines.append(f"The verifier failed in {r['task']}, {r['decoding']}: {', '.join(rates)}.")
    return lines


class Tables:
    """The tables of a record as a rich renderable, for any console width from 80."""

    def __init__(self, record: Record) -> None:
        self.heading, self.good = visible(heading(record)), record.get("status") in ("finished", "running")
        self.rows = {
            name: [{key: visible(text) for key, text in row.items()} for row in table]
            for name, table in rows(record).items()
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tables, wide = self.rows, options.max_width >= WIDE
        yield Text(f"{self.heading}\n", style="bold" if self.good else "bold red")
        if tables["evals"]:
            yield from (_eval_table(tables["evals"], wide), "")
        yield Text("\n".join([*notes(tables["evals"]), ""]), style="dim")
        blocks = [_plain_table(tables[name], "budget") for name in ("spend", "memory", "phases") if tables[name]]
        if wide and tables["memory"]:
            pair = Table.grid(padding=(0, 6, 0, 0))
            pair.add_row(*blocks[:2])
            blocks[:2] = [pair]
        for block in blocks:
            yield from (block, "")
        for r in tables["checks"]:
            yield Text(f"{r['check']}: {r['result']}", style="bold red" if "DISAGREE" in r["result"] else "")


def _table(gap: int) -> Table:
    """A table whose columns are `gap` characters apart; the box itself takes one of them."""
    return Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0), header_style="dim")


def _eval_table(evals: list[Row], wide: bool) -> Table:
    """Two lines per row, the first evaluation above the last."""
    table = _table(2 if wide else 1)
    table.add_column("task", overflow="fold")
    table.add_column("")
    for head in ("strict", "95 % interval", "change", "lenient", "unparseable", "truncated", "n"):
        table.add_column(head if wide else FOLDED.get(head, head), justify="right", no_wrap=True)
    several, domain = len({r["scorer"] for r in evals}) > 1, ""
    for r in evals:
        if r["domain"] != domain:
            domain = r["domain"]
            table.add_row(Text(domain, style="italic dim"))
        both = [Text("\n".join(r[f"{name}_{w}"] for w in ("first", "last") if r[f"at_{w}"]))
                for name in ("strict", "interval", "lenient", "unparseable", "truncated")]  # fmt: skip
        task = Text.assemble(r["task"], "\n", (f"  {r['decoding']}", "dim"))
        change = Text(f"\n{r['change']}" if r["at_last"] else "-", style="bold")
        n = Text(f"{r['n']}\n{r['scorer']}" if several else r["n"])
        table.add_row(task, Text(f"{r['at_first']}\n{r['at_last']}", style="dim"), *both[:2], change, *both[2:], n)
    return table


def _plain_table(table_rows: list[Row], bold_if: str = "") -> Table:
    """One column per key; rows whose `bold_if` cell is not empty are bold."""
    table = _table(2)
    for i, key in enumerate(table_rows[0]):
        table.add_column(key, justify="left" if i == 0 or key in WORDS else "right")
    for r in table_rows:
        table.add_row(*(Text(x) for x in r.values()), style="bold" if r.get(bold_if) else "")
    return table
