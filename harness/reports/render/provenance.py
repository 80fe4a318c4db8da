"""Where a report's numbers come from: the command of each arm, versions and machines, and what the models wrote."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from harness.config.overrides import GROUPS
from harness.reports.loading import Results, Run
from harness.reports.render.tables import Table
from harness.studies.planned_run import Cell

OWN = ("name", "out", "seed", "sources", "schedule", "resume", "keep_checkpoints", "checkpoint_every")


@dataclass(frozen=True)
class Sample:
    """One test problem and what each model wrote: column (start, then arms) -> (text, outcome)."""

    task: str
    decoding: str
    prompt: str
    gold: str
    texts: dict[str, tuple[str, str]]


def command(run: Run, out: str) -> str:
    """The `harness run` that made this record, from the fields that its configuration had not by default."""
    config, sources = run.record["config"], run.record["config"]["sources"]
    fields: dict[str, Any] = {}
    for group in GROUPS:
        table = config.get(group, {})  # a record may be older than the group
        asked = {k: v for k, v in table.items() if sources.get(f"{group}.{k}", "profile") != "profile"}
        named = {"name": config[f"{group}_name"]} if f"{group}_name" in config else {}
        if asked or f"{group}_name" in sources:
            fields[group] = {**named, **asked}
    for name, value in config.items():
        if name not in (*OWN, *GROUPS, "algo_name", "task_name") and sources.get(name, "profile") != "profile":
            fields[name] = value
    return shlex.join(Cell(run.arm, run.seed, f"{out}/{run.arm}", fields).command("results"))


def commands(results: Results) -> list[str]:
    """One an arm, at its first seed; the others differ in the seed alone."""
    return [command(next(iter(by_seed.values())), results.study.name) for by_seed in results.runs.values() if by_seed]


def versions(results: Results) -> Table:
    """What ran, on what: a row for each combination that the records name."""
    found: dict[tuple[str, ...], int] = {}
    for run in results:
        e = run.record["environment"]
        commit = f"{str(e['commit'])[:10]}{' + local changes' if e['dirty'] else ''}"
        packages = ", ".join(f"{k} {v}" for k, v in e["packages"].items())
        threads = f"{e['threads']} thread{'s' * (e['threads'] != 1)}"
        machine = f"{e['device']}{f' ({cpu})' if (cpu := e.get('cpu')) else ''}, {threads}"
        key = (commit, machine, f"Python {e['python']}, {packages}")
        found[key] = found.get(key, 0) + 1
    rows = [[str(n), *key] for key, n in sorted(found.items())]
    return Table("Versions", ["runs", "commit", "machine", "packages"], rows)


def samples(results: Results) -> list[Sample]:
    """The problems whose text was kept, on the endpoint's set and on the sampled in-domain one, at the lowest seed that
    all arms have finished; none where the records keep no text."""
    arms = [arm for arm in results.runs if results.seeds(arm)]
    seeds = results.seeds(*arms)
    if not seeds:
        return []
    sampled = [t.name for t in results.tasks if t.domain == "in" and t.temperature]
    found = []
    for task in [t for t in results.tasks if t.name in (results.endpoint, *sampled[:1])]:
        columns = {arm: results.runs[arm][seeds[0]].outcomes(task.name, 1.0) for arm in arms}
        if 0.0 in results.fractions:
            columns = {"start": results.runs[arms[0]][seeds[0]].outcomes(task.name, 0.0), **columns}
        if not all(columns.values()):  # somebody kept none
            continue
        for rows in zip(*columns.values(), strict=True):
            if all("text" in row for row in rows):
                texts = {name: (row["text"], row["strict"]) for name, row in zip(columns, rows, strict=True)}
                decoding = f"temperature {task.temperature:g}" if task.temperature else "greedy"
                found.append(Sample(task.name, decoding, rows[0]["prompt"], rows[0]["gold"], texts))
    return found
