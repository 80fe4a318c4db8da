"""Several studies side by side: every claim that they test, and what each study is, as tables from their records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.records.io import read_record
from harness.reports.analysis.hypotheses import Judged, judged, progress
from harness.reports.analysis.summary import Findings, find
from harness.reports.loading import Results, read
from harness.reports.render.tables import Table
from harness.reports.render.text import amount, bracket, compared, headline, points, unit
from harness.studies.study import Study, written


@dataclass(frozen=True)
class Shelved:
    """A study's folder; `findings` are None until a run of it has finished."""

    folder: Path
    study: Study
    results: Results
    findings: Findings | None
    hypotheses: list[Judged]


def is_shelf(folder: Path) -> bool:
    """A folder that holds studies' folders, and is neither a study's nor a run's itself."""
    alone = (folder / "study.json").exists() or (folder / "record.json").exists()
    return not alone and any(folder.glob("*/study.json"))


def shelved(folder: Path) -> list[Shelved]:
    """By name.  Raises ValueError as `results.read` does."""
    found = []
    for place in sorted(file.parent for file in folder.glob("*/study.json")):
        study = written(place)
        assert study is not None
        if any((read_record(f.parent) or {}).get("status") == "finished" for f in place.glob("*/seed*/record.json")):
            findings = find(read(place))
            found.append(Shelved(place, study, findings.results, findings, findings.hypotheses))
        else:
            nothing = Results(study, {arm: {} for arm in study.arms})
            found.append(Shelved(place, study, nothing, None, judged(nothing)))
    return found


def hypotheses(shelf: list[Shelved], folder: str) -> Table:
    """A row a hypothesis, by its id."""
    rows = []
    for s, j in _every(shelf):
        h, n = j.hypothesis, j.verdict.pair.n
        row = [h.id, h.says, compared(j), _effect(j), f"**{j.word}**" if n else j.word, _scale(s, n)]
        rows.append([*row, h.settle, _link(s, folder)])
    columns = ["", "claim", "a fair test compares", "difference, 95 %", "verdict", "scale"]
    note = (
        "Points, paired by seed; each study's intervals hold for all of its hypotheses at once.  Not reproduced: "
        "separated the other way, or shown to be within the study's margin."
    )
    return Table("Hypotheses", [*columns, "what would settle it", "study"], rows, note)


def claims(shelf: list[Shelved], folder: str) -> Table:
    """A row a claim, which is the first word of its tests' ids: how each of them came out."""
    words = ("reproduced", "not reproduced", "not separated")
    rows: dict[str, list[list[str]]] = {}
    links: dict[str, dict[str, None]] = {}
    for s, j in _every(shelf):
        claim = j.hypothesis.id.partition(" ")[0]
        place = next((i for i, word in enumerate(words) if j.word.startswith(word)), len(words))
        more = j.word.removeprefix(words[place]).strip(",; ") if place < len(words) else ""  # within the margin, failed
        said = f"{j.hypothesis.says}: {_effect(j)}{f', {more}' if more else ''}"
        rows.setdefault(claim, [[] for _ in range(len(words) + 1)])[place].append(said)
        links.setdefault(claim, {})[_link(s, folder)] = None
    cells = [
        [claim, *("<br>".join(cell) or "-" for cell in row), ", ".join(links[claim])] for claim, row in rows.items()
    ]
    columns = ["claim", *words, "not yet known", "study"]
    if all(row[-2] == "-" for row in cells):  # a column for nothing
        columns, cells = [*columns[:-2], columns[-1]], [[*row[:-2], row[-1]] for row in cells]
    return Table("Claims", columns, cells, "Points, and their simultaneous 95 % intervals over seeds.")


def _every(shelf: list[Shelved]) -> list[tuple[Shelved, Judged]]:
    return sorted(((s, j) for s in shelf for j in s.hypotheses), key=lambda x: x[1].hypothesis.id)


def _effect(j: Judged) -> str:
    pair, interval = j.verdict.pair, bracket((j.verdict.low, j.verdict.high))
    return f"{points(pair.mean, sign=True)} {pair.why or interval}" if pair.n else "-"


def _scale(s: Shelved, seeds: int) -> str:
    """Model, budget and seeds: those of the records, or as planned where there is none."""
    if s.findings is None:
        config = s.study.runs()[0].config("results")
        name, limit = config.budget.split("=")
        return f"{config.model}, {amount(float(limit))} {unit(name)}, none of {len(s.study.seeds)} seeds yet"
    record = s.results.one.record
    budget = record["budget"]
    return f"{record['config']['model']}, {amount(budget['limit'])} {unit(budget['unit'])}, {seeds} seeds"


def _link(s: Shelved, folder: str) -> str:
    return (
        f"[{s.study.name}]({'' if folder == '.' else f'{folder}/'}{s.folder.name}/{'report.md' if s.findings else ''})"
    )


def studies(shelf: list[Shelved], folder: str) -> Table:
    """A row a study: question, headline, how far it is, where its numbers come from, what they took."""
    rows = []
    for s in shelf:
        ended, planned = progress(s.results, list(s.study.arms))
        said = headline(s.findings, s.findings.blocks[0]) if s.findings else "No run has finished."
        commits = sorted({str(run.record["environment"]["commit"])[:10] for run in s.results})
        trials = [run for of in s.results.trials.values() for by_seed in of.values() for run in by_seed.values()]
        seconds = sum(run.record["spend"]["device_seconds"] for run in [*s.results, *trials])
        row = [_link(s, folder), s.study.question, said, f"{ended} of {planned}", ", ".join(commits) or "-"]
        rows.append([*row, f"{seconds:,.0f}"])
    columns = ["study", "question", "verdict", "seeds in", "commit", "device seconds"]
    return Table(
        "Studies", columns, rows, "Seeds in: those that every arm has ended.  Device seconds: of all runs and trials."
    )


PARTS = {"hypotheses": hypotheses, "claims": claims, "studies": studies}


def part(folder: Path, named: str, asked: str) -> Table:
    """One of PARTS of the folder that a document calls `named`.  Raises ValueError where there is no such part."""
    if asked not in PARTS:
        raise ValueError(f"report: no part '{asked}' of {named}; valid: {', '.join(PARTS)}")
    return PARTS[asked](shelved(folder), named)
