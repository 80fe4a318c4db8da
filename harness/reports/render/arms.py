"""Tables of what an arm is, and of how its completions ended."""

from __future__ import annotations

from collections.abc import Iterator

from harness.reports.analysis.summary import Findings
from harness.reports.render.table import Table
from harness.reports.render.text import points
from harness.studies.study import Study

NOT_OF_RUNS = ("seeds", "tuned_as", "label", "about")


def arms(findings: Findings) -> Table:
    """What an arm is: its label and words where its study has any, and its own fields."""
    study, rows = findings.results.study, []
    worded = any(study.about(arm) or study.label(arm) != arm for arm in study.arms)
    for arm in study.arms:
        words = [study.label(arm), study.about(arm) or "-"] if worded else []
        rows.append([arm, *words, _own_fields(study, arm) or "-"])
    columns = ["arm", *(["label", "about"] if worded else []), "fields of its own"]
    return Table("Arms", columns, rows, "All other fields are the study's base and the defaults.")


def legend(findings: Findings) -> list[tuple[str, str, str]]:
    """Each arm that is shown, its label, and what it is: its study's words, or else its own fields."""
    study = findings.results.study
    return [(arm, study.label(arm), study.about(arm) or _own_fields(study, arm)) for arm in findings.arms]


def _own_fields(study: Study, arm: str) -> str:
    fields = {k: v for k, v in study.arms.get(arm, {}).items() if k not in NOT_OF_RUNS}
    return ", ".join(f"{name} = {value}" for name, value in _flat(fields))


def _flat(fields: dict[str, object], group: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names: `algo.kl_coef`."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, "" if name == "scale" else f"{group}{name}.")
        else:
            yield f"{group}{name}", value


OUTCOMES = {  # filter and metric of how completions end
    "strict": ("strict", "exact_match"),
    "lenient": ("lenient", "exact_match"),
    "unparseable": ("strict", "unparseable"),
    "truncated": ("strict", "truncated"),
    "verifier_error": ("strict", "verifier_error"),
}


def outcome(findings: Findings, arm: str, filter: str, metric: str) -> float | None:
    """A rate of the endpoint at the end, mean over seeds; None where not every run has it."""
    results, key = findings.results, (findings.endpoint.name, filter, metric)
    seeds = results.seeds(arm)
    if not seeds or not all((1.0, key) in results.runs[arm][seed].values() for seed in seeds):
        return None
    return float(results.value_SF(arm, key, [1.0], seeds).mean())


def outcomes(findings: Findings) -> Table:
    """How the endpoint's completions ended: an arm may be wrong in its answers, or in their format, or never end."""
    rows = [[arm, *(points(outcome(findings, arm, *key)) for key in OUTCOMES.values())] for arm in findings.arms]
    columns = ["arm", "strict", "lenient", "no answer", "cut at the limit", "verifier error"]
    note = f"`{findings.endpoint.name}` at the end, percent of completions, means over seeds."
    return Table("Outcomes", columns, rows, note)
