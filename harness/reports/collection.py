"""Several studies side by side: tables of the claims that they test, and of the studies themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from evals.statistics.comparison import compare_pairs
from harness.records.runs import run_folders, status_of
from harness.reports.analysis.hypotheses import HypothesisResult, claim_verdict, evaluate_hypotheses, progress
from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import Results, RunRecord, checked_record, load_results
from harness.reports.render.escape import inert, literal
from harness.reports.render.table import Table
from harness.reports.render.text import amount, bracket, comparison_text, headline, points, unit
from harness.studies.storage import stored_study
from harness.studies.study import Study


@dataclass(frozen=True)
class CollectedStudy:
    """A study's folder; `findings` are None until a run of it has finished."""

    folder: Path
    study: Study
    results: Results
    findings: Findings | None
    hypotheses: list[HypothesisResult]


def is_collection(folder: Path) -> bool:
    """Whether a folder contains the folders of studies or of runs, and is not itself the folder of a study or a run."""
    single = (folder / "study.json").exists() or (folder / "record.json").exists()
    return not single and (any(folder.glob("*/study.json")) or bool(single_runs(folder)))


def single_runs(folder: Path) -> list[Path]:
    """The folders of runs that belong to no study, by name; an arm's runs, `seed<k>`, belong to one."""
    found = sorted(file.parent for file in folder.glob("*/record.json"))
    return [place for place in found if not re.fullmatch(r"seed\d+", place.name)]


def study_folders(folder: Path) -> list[Path]:
    """The folders of the studies of a collection, by name; the folder itself, where it is a study's."""
    return sorted(file.parent for file in folder.glob("*/study.json")) if is_collection(folder) else [folder]


def read_collection(folder: Path) -> list[CollectedStudy]:
    """The studies of a folder, by name.  Raises ValueError as `load_results` does."""
    studies = []
    for place in sorted(file.parent for file in folder.glob("*/study.json")):
        study = stored_study(place)
        assert study is not None
        if any(status_of(run) == "finished" for run in run_folders(place, "*/seed*")):
            findings = summarize(load_results(place))
            studies.append(CollectedStudy(place, study, findings.results, findings, findings.hypotheses))
        else:
            empty = Results(study, {arm: {} for arm in study.arms})
            studies.append(CollectedStudy(place, study, empty, None, evaluate_hypotheses(empty)))
    return studies


def hypotheses(collection: list[CollectedStudy], folder: str) -> Table:
    """One row per hypothesis, by id."""
    rows, every = [], _every(collection)
    for (s, result), over_all in zip(every, over_collection([r for _, r in every]), strict=True):
        h, n = result.hypothesis, result.comparison.pair.n
        verdict = f"**{result.verdict}**" if n else result.verdict
        verdict += " (post hoc)" if h.post_hoc and n else ""
        row = [h.id, h.says, comparison_text(result), _effect(result), verdict, over_all, _scale(s, n)]
        rows.append([*map(inert, [*row, h.settle]), _link(s, folder)])
    columns = ["", "claim", "comparison", "difference, 95 %", "verdict", "over all claims", "scale"]
    note = (
        "Differences in points, paired by seed; intervals of the study's family of contrasts.  Contradicted: the whole "
        "interval lies beyond the study's margin.  Post hoc: asked after runs had ended.  Over all claims: the verdict "
        "with all claims of this table as one family, so that no word of that column is false with probability 95 %."
    )
    return Table("Hypotheses", [*columns, "what would settle it", "study"], rows, note, marked=True)


def over_collection(results: list[HypothesisResult]) -> list[str]:
    """The verdicts with the contrasts of all these claims, of whichever study, as one family; "-" for a claim without a
    verdict.  A study's own verdicts are free of error together with probability 95 %; of many studies some are not."""
    judged = [r for r in results if not r.missing and r.ended >= r.planned]
    compared = compare_pairs([r.comparison.pair for r in judged], [r.margin for r in judged])
    words = {id(r): claim_verdict(r.hypothesis.expect, c, r.margin) for r, c in zip(judged, compared, strict=True)}
    return [words.get(id(r), "-") for r in results]


def claims(collection: list[CollectedStudy], folder: str) -> Table:
    """One row per claim (the first word of its hypotheses' ids), with its hypotheses by verdict."""
    words = ("supported", "contradicted", "undecided")
    rows: dict[str, list[list[str]]] = {}
    links: dict[str, dict[str, None]] = {}
    for s, result in _every(collection):
        claim = result.hypothesis.id.partition(" ")[0]
        column = next((i for i, word in enumerate(words) if result.verdict.startswith(word)), len(words))
        verdict = result.verdict.removeprefix(words[column]) if column < len(words) else ""
        more = ", ".join(filter(None, [verdict.strip(",; "), "post hoc" * result.hypothesis.post_hoc]))
        entry = f"{result.hypothesis.says}: {_effect(result)}{f', {more}' if more else ''}"
        rows.setdefault(claim, [[] for _ in range(len(words) + 1)])[column].append(inert(entry))
        links.setdefault(claim, {})[_link(s, folder)] = None
    cells = [
        [inert(claim), *("<br>".join(cell) or "-" for cell in row), ", ".join(links[claim])]
        for claim, row in rows.items()
    ]
    columns = ["claim", *words, "no verdict", "study"]
    if all(row[-2] == "-" for row in cells):  # an empty column
        columns, cells = [*columns[:-2], columns[-1]], [[*row[:-2], row[-1]] for row in cells]
    note = "Differences in points with the 95 % intervals of their families."
    return Table("Claims", columns, cells, note, marked=True)


def _every(collection: list[CollectedStudy]) -> list[tuple[CollectedStudy, HypothesisResult]]:
    return sorted(((s, result) for s in collection for result in s.hypotheses), key=lambda x: x[1].hypothesis.id)


def _effect(result: HypothesisResult) -> str:
    pair, interval = result.comparison.pair, bracket((result.comparison.low, result.comparison.high))
    return f"{points(pair.mean, sign=True)} {pair.why or interval}" if pair.n else "-"


def _scale(s: CollectedStudy, seeds: int) -> str:
    """Model, budget and seeds of the records, or as planned if there are no records."""
    if s.findings is None:
        config = s.study.runs()[0].config("results")
        name, limit = config.budget.split("=")
        return f"{config.model}, {amount(float(limit))} {unit(name)}, none of {len(s.study.seeds)} seeds yet"
    record = s.results.example.record
    budget = record["budget"]
    return f"{record['config']['model']}, {amount(budget['limit'])} {unit(budget['unit'])}, {seeds} seeds"


def _link(s: CollectedStudy, folder: str) -> str:
    address = f"{'' if folder == '.' else f'{folder}/'}{s.folder.name}/{'report.md' if s.findings else ''}"
    return f"[{inert(s.study.name)}]({quote(address)})"


def studies(collection: list[CollectedStudy], folder: str) -> Table:
    """One row per study: question, headline, progress, commits and cost."""
    rows = []
    for s in collection:
        ended, planned = progress(s.results, list(s.study.arms))
        verdict = headline(s.findings, s.findings.blocks[0]) if s.findings else "No run has finished."
        commits = sorted({str(run.record["environment"]["commit"])[:10] for run in s.results})
        trials = [run for arm in s.results.trials.values() for by_seed in arm.values() for run in by_seed.values()]
        seconds = sum(run.record["spend"]["device_seconds"] or 0.0 for run in [*s.results, *trials])
        row = [s.study.question, verdict, f"{ended} of {planned}", ", ".join(commits) or "-"]
        rows.append([_link(s, folder), *map(inert, row), f"{seconds:,.0f}"])
    columns = ["study", "question", "verdict", "seeds", "commit", "device seconds"]
    note = "Seeds: finished or failed in every arm, of those planned.  Device seconds: all runs and trials."
    return Table("Studies", columns, rows, note, marked=True)


def runs(folder: Path, link: str) -> Table:
    """One row per run that belongs to no study: `harness run`, in a folder of its own."""
    rows = []
    for place in single_runs(folder):
        record = checked_record(place)
        assert record is not None, f"{place} has no record"
        run = RunRecord(Path(record["algo"]).stem, record["seed"], place, record)
        ends = [r for r in record["evals"] if r["fraction"] == 1 and r["filter"] == "strict"]
        ends = [r for r in ends if r["metric"] == "exact_match" and r["domain"] == "in" and not r["temperature"]]
        address = quote(f"{'' if link == '.' else f'{link}/'}{place.name}")
        accuracy = f"{points(ends[0]['value'])} ({ends[0]['task']}, {ends[0]['n']:,} problems)" if ends else "-"
        budget, config = record["budget"], record["config"]
        cells = [run.arm, config["task_name"], config["model"], str(record["seed"])]
        cells += [f"{amount(budget['limit'])} {unit(budget['unit'])}", accuracy]
        rows.append([f"[{inert(place.name)}]({address})", *map(inert, cells), literal(run.status)])
    columns = ["run", "algorithm", "task", "model", "seed", "budget", "strict, greedy, at the end", "status"]
    return Table("Runs", columns, rows, "Runs of no study.  One run has no interval over seeds.", marked=True)


PARTS = {"hypotheses": hypotheses, "claims": claims, "studies": studies}


def part(folder: Path, link: str, name: str) -> Table:
    """The table `name` of PARTS; `link` is the folder's path in the document.  Raises ValueError on unknown names."""
    if name not in (*PARTS, "runs"):
        raise ValueError(f"report: no part '{name}' of {link}; valid: {', '.join([*PARTS, 'runs'])}")
    return runs(folder, link) if name == "runs" else PARTS[name](read_collection(folder), link)
