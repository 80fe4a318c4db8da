"""Tables of what an arm is, and of how its completions ended."""

from __future__ import annotations

from collections.abc import Iterator

from harness.reports.analysis.summary import Findings
from harness.reports.render.table import Table
from harness.reports.render.text import points


def arms(findings: Findings) -> Table:
    """What an arm is: its own fields, as its study names them."""
    study, rows = findings.results.study, []
    for arm, own in study.arms.items():
        fields = {k: v for k, v in own.items() if k not in ("seeds", "tuned_as")}
        rows.append([arm, ", ".join(f"{name} = {value}" for name, value in _flat(fields)) or "-"])
    return Table("Arms", ["arm", "fields of its own"], rows, "All other fields are the study's base and the defaults.")


def _flat(fields: dict[str, object], group: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names: `algo.kl_coef`."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, "" if name == "scale" else f"{group}{name}.")
        else:
            yield f"{group}{name}", value


OUTCOMES = (("strict", "exact_match"), ("lenient", "exact_match"), ("strict", "unparseable"), ("strict", "truncated"))


def outcomes(findings: Findings) -> Table:
    """How the endpoint's completions ended: an arm may be wrong in its answers, or in their format, or never end."""
    f, rows = findings, []
    for arm in f.arms:
        cells = []
        for filter, metric in (*OUTCOMES, ("strict", "verifier_error")):
            key, seeds = (f.endpoint.name, filter, metric), f.results.seeds(arm)
            known = all((1.0, key) in f.results.runs[arm][seed].values() for seed in seeds)
            cells.append(points(float(f.results.value_SF(arm, key, [1.0], seeds).mean())) if known else "-")
        rows.append([arm, *cells])
    columns = ["arm", "strict", "lenient", "no answer", "cut at the limit", "verifier error"]
    note = f"`{f.endpoint.name}` at the end, percent of completions, means over seeds."
    return Table("Outcomes", columns, rows, note)
