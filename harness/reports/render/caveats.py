"""What a reader must know beside the numbers: cautions, which stand in the headline's place, and notes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from harness.reports.analysis.summary import Findings
from harness.reports.render.text import amount, join_words, points, seed_list, unit
from harness.studies.fairness.equal_updates import UNEQUAL
from harness.studies.fairness.tuning import numeric
from harness.studies.registration import later

CEILING, FLOOR = 0.97, 0.03  # of accuracy: beyond them differences between arms are squeezed
TRUNCATED = 0.10  # of completions cut at their token limit at the end


def cautions(findings: Findings) -> list[str]:
    """Why the headline may not mean what it seems to: rates that were not tuned or chosen at an edge, unequal numbers
    of updates, ceilings and floors, truncation, collapse."""
    if len(findings.arms) < 2:
        return []
    return [*_tuning(findings), *_updates(findings), *_squeezed(findings), *_truncated(findings), *_collapsed(findings)]


def _tuning(findings: Findings) -> list[str]:
    caveats, study = [], findings.results.study
    algos = {run.record["algo"] for run in findings.results}
    if study.tune is None and len(algos) > 1:
        rates = {f"{rate:g}" for run in findings.results if (rate := run.record["config"].get("lr")) is not None}
        elsewhere = "at rates chosen elsewhere" if rates else "at rates not known"
        one = f"all at lr {rates.pop()}" if len(rates) == 1 else elsewhere
        caveats.append(f"No arm was tuned here ({one}): the best rate of one algorithm need not be that of another.")
    for arm in (arm for arm in study.arms if study.tune and study.tuned_as(arm) != arm):
        caveats.append(f"{arm} was not tuned: it uses the values that were tuned for {study.tuned_as(arm)}.")
    run_budget = findings.results.example.record["config"]["budget"]
    trial_budget = study.tune.base.get("budget") if study.tune else None
    if trial_budget and trial_budget != run_budget:
        caveats.append(
            f"The budget of a trial was {_limit(trial_budget)}, that of a run {_limit(run_budget)}: the best values of "
            "one need not be the best of the other."
        )
    edges = [arm for arm, trials in findings.trials.items() if _edge(findings, arm)]
    if edges:
        best, grids = ("trial", "its grid") if len(edges) == 1 else ("trials", "their grids")
        verb = "is" if len(edges) == 1 else "are"
        most = max(len(trials) for trials in findings.trials.values())
        widened = f" after {most} trials, the most that an arm gets" if study.tune and study.tune.widen else ""
        caveats.append(
            f"The best {best} of {join_words(edges)} {verb} at the edge of {grids}{widened}: "
            "better values may lie outside."
        )
    return caveats


def _updates(findings: Findings) -> list[str]:
    """Arms of one table that took different numbers of optimiser steps for the same budget."""
    lines = []
    for block in findings.blocks:
        taken = {arm: findings.arms[arm].spend_F["updates"][-1] for arm in block.arms}
        taken = {arm: updates for arm, updates in taken.items() if math.isfinite(updates)}
        least, most = min(taken, key=lambda a: taken[a], default=""), max(taken, key=lambda a: taken[a], default="")
        if taken and taken[most] > UNEQUAL * taken[least]:
            where = f" ({block.name})" if block.name else ""
            lines.append(
                f"Unequal numbers of updates{where}: {amount(taken[least])} in {least}, {amount(taken[most])} in "
                f"{most}.  What is read as a difference of methods may be one of optimiser steps."
            )
    return lines


def _squeezed(findings: Findings) -> list[str]:
    high = [arm.name for arm in findings.arms.values() if arm.mean > CEILING]
    low = [arm.name for arm in findings.arms.values() if arm.mean < FLOOR]
    lines = [f"Near the ceiling: {join_words(high)} at more than {points(CEILING)} %."] if high else []
    return lines + ([f"Near the floor: {join_words(low)} at less than {points(FLOOR)} %."] if low else [])


def _truncated(findings: Findings) -> list[str]:
    cut = {name: rate for name, rate in _rates(findings, "truncated").items() if rate > TRUNCATED}
    shares = [f"{name} {points(rate)} %" for name, rate in cut.items()]
    return [f"Completions cut at their token limit, on the endpoint at the end: {join_words(shares)}."] if cut else []


def _rates(findings: Findings, metric: str) -> dict[str, float]:
    """A rate of the endpoint at the end, for each arm whose records have it: a mean over seeds."""
    results, key = findings.results, (findings.endpoint.name, "strict", metric)
    has = all((1.0, key) in run.values() for run in results if run.finished)
    if not has:
        return {}
    return {arm: float(results.value_SF(arm, key, [1.0], results.seeds(arm)).mean()) for arm in findings.arms}


def _collapsed(findings: Findings) -> list[str]:
    fell = [f"{arm.collapsed} of {arm.name}" for arm in findings.arms.values() if arm.collapsed]
    if not fell:
        return []
    return [
        f"Runs that failed or collapsed: {join_words(fell)}.  With such runs among few seeds no interval of a mean "
        "holds its level: look at every seed."
    ]


def notes(findings: Findings, shown: Callable[[str], str] = str) -> list[str]:
    """Missing or failed runs, when the question was asked, differing environments.

    `shown` is how a page shows what is not our own text: why a run failed, which machine it ran on.
    """
    caveats = []
    for arm in findings.results.study.arms:
        summary = findings.arms.get(arm)
        if summary is None:
            runs = findings.results.runs.get(arm, {})
            why = "; ".join(f"seed {s}: {shown(r.status)}" for s, r in runs.items()) or "no run yet"
            caveats.append(f"{arm} has no finished run ({why}) and is not in the tables.")
            continue
        missing: dict[str, list[int]] = {}
        for s in summary.seeds:
            if s.value is None:
                missing.setdefault(s.status, []).append(s.seed)
        if missing:
            without = [f"{seed_list(numbers)} ({shown(status)})" for status, numbers in missing.items()]
            caveats.append(f"{arm}: missing {join_words(without)}; its pairs have fewer seeds.")
    caveats += [absent] if (absent := trials_absent(findings)) else []
    caveats += _asked_when(findings)
    caveats += _imported(findings)
    for name, values in _variety(findings).items():
        if len(values) > 1:
            words = [shown(word) for word in sorted(map(str, values))]
            caveats.append(f"The runs differ in {name}: {join_words(words)}.")
    return caveats


def trials_absent(findings: Findings) -> str:
    """Which trials of the study's tuning are not here, and where they belong; "" where all are."""
    study = findings.results.study
    if study.tune is None:
        return ""
    planned, trials = study.trials(), findings.results.trials
    here = [run for run in planned if run.seed in trials.get(run.arm, {}).get(Path(run.folder).name, {})]
    if len(here) == len(planned):
        return ""
    store = study.tune.store
    place = f"../{store}: copy the folder of the study {store} beside this one" if store else "tune/"
    return f"{len(planned) - len(here)} of {len(planned)} trials are not here.  Their records belong in {place}."


def _imported(findings: Findings) -> list[str]:
    """That runs were trained and judged elsewhere, and what is known of them by word alone."""
    arms: dict[str, list[str]] = {}
    for run in findings.results:
        if origin := run.record.get("imported"):
            said = ", ".join(f"{name} {value}" for name, value in sorted(origin["stated"].items()))
            arms.setdefault(f"{origin['trainer']}; stated, not proven by a file: {said}", []).append(run.arm)
    how = "trained and judged elsewhere: what was not counted shows as -"
    return [f"{join_words(list(dict.fromkeys(names)))}: {how} (from {origin})." for origin, names in arms.items()]


def _asked_when(findings: Findings) -> list[str]:
    """Whether the question was there before the runs, and what came after it."""
    results = findings.results
    if len(results.runs) < 2:
        return []
    if results.lock is None or results.lock.locked is None:
        return ["The question was not locked before the first run (this study is older than its lock, or has none)."]
    arms, seeds = later(results.lock, results.study)
    caveats = [f"The question was locked on {results.lock.locked}, before the first run."]
    if arms:
        verb = "was" if len(arms) == 1 else "were"
        caveats.append(f"{join_words(arms)} {verb} added after that: pairs with {join_words(arms)} are post hoc.")
    if seeds:
        caveats.append(
            f"{seed_list(seeds).capitalize()} came after that.  If they were added because of what others showed, no "
            "interval here allows for it."
        )
    return caveats


def _limit(budget: str) -> str:
    """ "completions=5120" -> "5,120 completions"."""
    name, _, limit = budget.partition("=")
    return f"{amount(float(limit))} {unit(name)}"


def _edge(findings: Findings, arm: str) -> bool:
    tune = findings.results.study.tune
    if tune is None or arm not in findings.arms:
        return False
    tried = numeric([*tune.points(arm), *(trial.fields for trial in findings.trials[arm])])
    used = findings.arms[arm].tuned
    return any(used.get(name) in (values[0], values[-1]) for name, values in tried.items())


def _variety(findings: Findings) -> dict[str, set[object]]:
    values: dict[str, set[object]] = {"commit": set(), "device": set(), "threads": set(), "torch": set()}
    for run in findings.results:
        if "imported" in run.record:
            continue
        e = run.record["environment"]
        values["commit"].add(f"{str(e['commit'])[:10]}{' with local changes' if e['dirty'] else ''}")
        values["device"].add(f"{e['device']} ({e.get('cpu', '')})")
        values["threads"].update([e["threads"], *(s["threads"] for s in run.record.get("sittings", []))])
        values["torch"].add(e["packages"]["torch"])
    return values
