"""`harness report DIR`: tables and figures from a study's records, written into DIR.

    report.md  report.html  table.csv  table.tex  curves|cost|seeds.svg|.png

Records are all that is read, torch is not needed, and the same records give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from harness.reports.analysis.summary import Findings, find
from harness.reports.loading import read
from harness.reports.render import figures, tables
from harness.reports.render import text as wording
from harness.reports.render.html_report import page
from harness.reports.render.provenance import commands, samples, versions
from harness.reports.render.reward_models import learned
from harness.reports.render.tables import Table

FIGURES = {
    "curves": "Accuracy against the budget; bands are 95 % t-intervals over seeds.",
    "cost": "Accuracy at the end against FLOPs.",
    "at_k": "pass@K (solid), maj@K (dashed) at the end, temperature 1; bands are 95 % t-intervals of arm - start.",
    "seeds": "Every seed; beside them the mean and its 95 % t-interval.",
}


def report(folder: Path) -> Findings:
    """Write the report of a study (or of one run).  Raises ValueError, one line, where records cannot be compared."""
    findings = find(read(folder))
    drawn = figures.draw(findings, folder)
    texts = {
        "report.md": markdown(findings, drawn),
        "report.html": page(findings),
        "table.csv": tables.raw(findings),
        "table.tex": "\n".join(tables.accuracy(findings, block).latex() for block in findings.blocks),
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode("utf-8", "replace"))  # half a character of a completion is no error
    return findings


def markdown(findings: Findings, drawn: list[str]) -> str:
    """The report as a page of text: the verdicts first."""
    study = findings.results.study
    parts = [f"# {study.name}"]
    head = (("Question", study.question), ("Source", study.source), ("Prediction", study.prediction))
    parts += ["\n".join(f"- {name}: {text}" for name, text in head if text)]
    parts += [f"**{wording.headline(findings, block)}**" for block in findings.blocks]
    parts += ["\n".join(f"- {wording.claim(tested)}" for tested in findings.hypotheses)]
    parts += [wording.audit(findings.audit, findings.late)]
    parts += ["\n".join(f"- {note}" for note in wording.notes(findings))]
    parts += [f"![{FIGURES[name]}]({name}.svg)\n\n{FIGURES[name]}" for name in drawn[:1]]
    parts += [shown(tables.hypotheses(findings))] if findings.hypotheses else []
    for block in findings.blocks:
        parts += [shown(tables.accuracy(findings, block))]
        if block.pairs:
            said = "\n".join(f"- {line}" for line in wording.verdicts(block, study.report.margin))
            parts += [said, shown(tables.pairs(findings, block))]
    others = [tables.spend, tables.seeds, *([tables.tuning] if findings.trials else []), tables.memory, tables.phases]
    asked = [*([tables.at_k] if findings.at_k else []), *([tables.logged] if findings.logged else [])]
    others[1:1] = asked
    parts += [shown(table(findings)) for table in others]
    parts += [shown(judges)] if (judges := learned(findings)) else []
    parts += [f"![{FIGURES[name]}]({name}.svg)\n\n{FIGURES[name]}" for name in drawn[1:]]
    parts += [_samples(findings), _commands(findings), shown(versions(findings.results))]
    return "\n\n".join(part for part in parts if part) + "\n"


def shown(table: Table) -> str:
    return "\n\n".join(part for part in (f"## {table.title}", table.markdown(), table.note) if part)


def _samples(findings: Findings, most: int = 4) -> str:
    """A few test problems, side by side; report.html has all."""
    found = samples(findings.results)[:most]
    if not found:
        return ""
    columns = ["problem", "answer", *found[0].texts]
    rows = [
        [
            f"`{_inline(s.prompt)}`",
            _inline(s.gold),
            *(f"`{_inline(text)}` {outcome}" for text, outcome in s.texts.values()),
        ]
        for s in found
    ]
    return shown(
        Table("Completions at the end", columns, rows, f"`{found[0].task}`, {found[0].decoding}; all at one seed.")
    )


def _inline(text: str) -> str:
    """One line of code in a table: no back-ticks, no line breaks."""
    return " ".join(text.replace("`", "'").split())


def _commands(findings: Findings) -> str:
    listed = "\n".join(f"    {command}" for command in commands(findings.results))
    return f"## Commands\n\n{listed}\n\nOne an arm, at its first seed; the others differ in `--seed` and `--name`."
