"""study.lock: what a study asks, written down before its first run.

    {"schema": 2, "locked": "2026-11-30T17:05:00Z", "environment": {...}, "sha256": "...", "asked": {...}}

`asked` holds the question, the prediction, the claims, the margin, the endpoint, the families, the blocks, the arms,
the grid and the seeds; `sha256` is of `asked`.  A locked question cannot be changed: a study that differs from its
lock is refused, when it is run and when it is reported.  What is asked later may be added: a claim is then *post hoc*,
as are an arm and its pairs, and more seeds are named in the report.  `locked` is null for studies that ran before there
were locks.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records.environment import environment
from harness.records.io import read_json, sha256, write_json
from harness.records.schema import SCHEMA
from harness.studies.schema import Hypothesis, Tune
from harness.studies.study import Study

FILE = "study.lock"
WORDS = ("id", "says", "source", "settle", "note", "post_hoc")  # of a claim: what it is called, not what it asks
SETTLED = ("question", "prediction", "margin", "endpoint", "problems", "family", "tune", "placebo")


@dataclass(frozen=True)
class Lock:
    """A study's lock, as read."""

    locked: str | None  # date and time, UTC; None: made after the runs
    asked: dict[str, Any]

    @property
    def arms(self) -> list[str]:
        return list(self.asked["arms"])


def asked(study: Study) -> dict[str, Any]:
    """What is locked, as JSON has it."""
    report, tune = study.report, study.tune
    table = {
        "question": study.question,
        "prediction": study.prediction,
        "margin": report.margin,
        "endpoint": report.endpoint,
        "problems": report.problems,
        "family": report.family,
        "blocks": report.blocks,
        "tune": None if tune is None else _tuning(tune),
        "claims": [question_of(h) for h in study.hypotheses if not h.post_hoc],
        "base": study.base,
        "arms": study.arms,
        "seeds": study.seeds,
    }
    if report.placebo:
        table["placebo"] = report.placebo
    return dict(json.loads(json.dumps(table)))


def _tuning(tune: Tune) -> dict[str, Any]:
    """How arms are tuned; what was not there when the first locks were written, where it is used."""
    later = {"own": tune.own, "widen": tune.widen, "bounds": tune.bounds}
    star = {} if tune.design == "grid" else {"design": tune.design}
    used = {name: value for name, value in later.items() if value}
    return {"grid": tune.grid, "seeds": tune.seeds, "trials": tune.trials, **used, **star}


def question_of(h: Hypothesis) -> dict[str, Any]:
    """What a claim asks, without what it is called."""
    fields = dataclasses.asdict(h)
    return {name: fields[name] for name in fields if name not in WORDS}


def read_lock(folder: Path) -> Lock | None:
    """None where there is none.  Raises ValueError naming the file where it was changed."""
    file = folder / FILE
    if not file.exists():
        return None
    try:
        table = read_json(file)
        lock, digest = Lock(table["locked"], dict(table["asked"])), table["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not a study's lock: {error}") from error
    if digest != _digest(lock.asked):
        raise ValueError(f"{file}: its sha256 is not that of what it locks: it was changed by hand")
    return lock


def write_lock(folder: Path, study: Study, locked: str | None) -> Lock:
    """Lock what the study asks now."""
    question = asked(study)
    here = {name: x for name, x in environment("", 0).items() if name in ("python", "packages", "commit", "dirty")}
    table = {"schema": SCHEMA, "locked": locked, "environment": here, "sha256": _digest(question), "asked": question}
    write_json(folder / FILE, table)
    return Lock(locked, question)


def held_to(lock: Lock | None, study: Study, folder: Path) -> Study:
    """The study with the claims that its lock does not have marked as post hoc.

    Raises ValueError, one line, where something that is locked has changed or is missing.
    """
    if lock is None:
        return study
    new, when = asked(study), lock.locked or "a date that is not on record"
    for name in SETTLED:
        was, now = lock.asked.get(name), new.get(name)
        if now != was:
            raise ValueError(
                f"{folder}: {name} was locked on {when} as {_short(was)}, and is {_short(now)} now: "
                "a question is not changed after it was asked; choose another --name"
            )
    if "blocks" in lock.asked and (moved := _pairs(lock.asked, lock.arms) ^ _pairs(new, lock.arms)):
        pair = " and ".join(sorted(min(moved, key=sorted)))
        raise ValueError(
            f"{folder}: blocks were locked on {when}, and others compare {pair} now: "
            "which pairs are compared decides every verdict; choose another --name"
        )
    for arm, fields in lock.asked["arms"].items():
        if arm in new["arms"] and _what_runs(new["arms"][arm]) != _what_runs(fields):
            raise ValueError(f"{folder}: arm '{arm}' was locked on {when} with other fields; choose another --name")
    kept = [question_of(h) for h in study.hypotheses]
    if lost := [claim for claim in lock.asked["claims"] if claim not in kept]:
        what = " and ".join(lost[0]["arms"])
        raise ValueError(
            f"{folder}: a claim of {what} ({lost[0]['expect']}, {lost[0]['measure']}) was locked on {when} and is "
            "missing or changed now; a new claim may be added beside it"
        )
    claims = [dataclasses.replace(h, post_hoc=question_of(h) not in lock.asked["claims"]) for h in study.hypotheses]
    return dataclasses.replace(study, hypotheses=claims)


def later(lock: Lock | None, study: Study) -> tuple[list[str], list[int]]:
    """Arms and seeds that a study has and its lock has not."""
    if lock is None:
        return [], []
    locked = {seed for own in lock.asked["arms"].values() for seed in own.get("seeds", [])} | set(lock.asked["seeds"])
    planned = {seed for arm in study.arms for seed in study.seeds_of(arm)}
    return [arm for arm in study.arms if arm not in lock.asked["arms"]], sorted(planned - locked)


def _pairs(question: dict[str, Any], arms: list[str]) -> set[frozenset[str]]:
    """The pairs of these arms that the blocks of a question compare: all that share one; without blocks, all."""
    blocks = question["blocks"].values() or [list(question["arms"])]
    pairs = itertools.chain.from_iterable(itertools.combinations(block, 2) for block in blocks)
    return {frozenset(pair) for pair in pairs if set(pair) <= set(arms)}


def _what_runs(fields: dict[str, Any]) -> dict[str, Any]:
    """An arm's fields to compare, without its seeds and what it is called.  A FILE.py by its name alone, for its
    folder is told from where the command runs."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(inner) for name, inner in value.items()}
        return Path(value).name if isinstance(value, str) and ".py" in value else value

    return {name: bare(value) for name, value in fields.items() if name not in ("seeds", "label", "about")}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest(question: dict[str, Any]) -> str:
    return sha256(json.dumps(question, sort_keys=True).encode())
