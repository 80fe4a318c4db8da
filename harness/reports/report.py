"""`harness report DIR`: tables and figures from a study's records, written into DIR.

    report.md  report.html  table.csv  curves.csv  table.tex  curves|cost|seeds|at_k.svg|.png  curves-2.svg|.png ...

Only records are read, torch is not needed, and the same records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.accounting.format import visible, without_controls
from harness.config.files.paths import check_targets
from harness.reports import csv_files
from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import Results, load_results
from harness.reports.paper.latex import table_tex
from harness.reports.render import arms as arm_tables
from harness.reports.render import caveats, figures, tables
from harness.reports.render import text as wording
from harness.reports.render.coverage import repeated_tables
from harness.reports.render.escape import code, inert, literal
from harness.reports.render.html_report import html_page
from harness.reports.render.provenance import commands, samples, versions
from harness.reports.render.reward_models import reward_model_table
from harness.reports.render.table import Table

TEXTS = ("report.md", "report.html", "table.csv", "curves.csv", "table.tex")


def write_report(folder: Path, results: Results | None = None) -> Findings:
    """Write the report of a study (or of one run), or of `results` from elsewhere, into the folder.

    Raises ValueError, one line, if records cannot be compared.
    """
    findings = summarize(results or load_results(folder))
    check_targets(folder, [*TEXTS, *(f"{name}{kind}" for name in figures.names(findings) for kind in (".svg", ".png"))])
    folder.mkdir(parents=True, exist_ok=True)  # of a run alone that is folded
    samples(findings.results)  # outcomes that cannot be read are told before anything is written
    svg = figures.draw(findings, folder)
    texts = {
        "report.md": markdown(findings, svg),
        "report.html": html_page(findings, svg),
        "table.csv": csv_files.table(findings),
        "curves.csv": csv_files.curves(findings),
        "table.tex": without_controls(table_tex(findings)),
    }
    assert texts.keys() == {*TEXTS}, "what is checked is what is written"
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode("utf-8", "replace"))  # completions may hold lone surrogates
    return findings


def markdown(findings: Findings, drawn: Iterable[str]) -> str:
    """report.md, with the names of the figures that were drawn: results first, then tables, then provenance."""
    study = findings.results.study
    head = (("Question", study.question), ("Source", study.source), ("Prediction", study.prediction))
    parts = [f"# {inert(study.name)}", "\n".join(f"- {name}: {inert(text)}" for name, text in head if text)]
    parts += [f"**{inert(wording.headline(findings, block))}**" for block in findings.blocks]
    parts += ["\n".join(f"- Caution: {inert(line)}" for line in caveats.cautions(findings))]
    parts += ["\n".join(f"- {inert(wording.hypothesis_sentence(result))}" for result in findings.asked_before)]
    parts += [inert(wording.audit_text(findings.audit, findings.delay))]
    parts += ["\n".join(f"- {inert(note)}" for note in caveats.notes(findings, literal))]
    images = {name: _image(name, figures.caption(findings, name)) for name in drawn}
    parts += [images.pop("curves", "")]
    parts += [section(tables.hypotheses(findings))] if findings.asked_before else []
    parts += [section(tables.hypotheses(findings, post_hoc=True))] if findings.asked_after else []
    for i, block in enumerate(findings.blocks, 1):
        parts += [section(tables.accuracy(findings, block)), images.pop(figures.name_of("curves", i), "")]
        if block.pairs:
            sentences = wording.pair_sentences(block, study.report.margin)
            parts += ["\n".join(f"- {inert(line)}" for line in sentences)]
            parts += [section(tables.pairs(findings, block))]
    parts += [section(table) for table in _further_tables(findings)]
    parts += images.values()
    parts += [_samples(findings), _commands(findings), section(versions(findings.results))]
    return without_controls("\n\n".join(part for part in parts if part) + "\n")


def _image(name: str, caption: str) -> str:
    """A block's name stands in the caption alone: a bracket in it would end the picture's own text."""
    return f"![{figures.CAPTIONS[name.partition('-')[0]]}]({name}.svg)\n\n{inert(caption)}"


def _further_tables(findings: Findings) -> list[Table]:
    builders = [arm_tables.arms] if len(findings.results.study.arms) > 1 else []
    builders += [arm_tables.outcomes, tables.spend]
    builders += [tables.at_k] if findings.at_k else []
    repeated = repeated_tables(findings)
    last = [tables.logged] if findings.logged else []
    last += [tables.seeds, *([tables.tuning] if findings.results.study.tune else [])]
    last += [t for t in (tables.memory, tables.phases) if len(t(findings).columns) > 1]  # imported runs have neither
    reward_models = reward_model_table(findings)
    made = [*(build(findings) for build in builders), *repeated, *(build(findings) for build in last)]
    return [*made, *([reward_models] if reward_models else [])]


def section(table: Table) -> str:
    """A table under its title, with its note."""
    parts = (f"## {inert(table.title)}", table.markdown(), inert(table.note))
    return "\n\n".join(part for part in parts if part)


def _samples(findings: Findings, most: int = 4) -> str:
    """Completions for a few test problems, side by side; report.html has all of them."""
    problems = samples(findings.results)[:most]
    if not problems:
        return ""
    first = problems[0]
    rows = [
        [
            code(problem.prompt),
            literal(" ".join(problem.gold.split())),
            *(f"{code(text)} {literal(outcome)}" for text, outcome in problem.texts.values()),
        ]
        for problem in problems
    ]
    note = f"`{first.task}`, {first.decoding}; all at one seed."
    return section(Table("Completions at the end", ["problem", "answer", *first.texts], rows, note, marked=True))


def _commands(findings: Findings) -> str:
    lines = "\n".join(f"    {visible(command)}".replace("\n", "\n    ") for command in commands(findings.results))
    if not lines:
        return ""
    note = "One command per arm, at its first seed; other seeds differ in `--seed` and `--name`."
    return f"## Commands\n\n{lines}\n\n{note}"
