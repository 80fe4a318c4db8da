"""Where a report's numbers come from: commands, versions, machines, and sample completions."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from harness.config.overrides import GROUPS
from harness.reports.loading import Results, RunRecord
from harness.reports.render.table import Table
from harness.studies.planned_run import PlannedRun

OWN = ("name", "out", "seed", "sources", "schedule", "resume", "keep_checkpoints", "checkpoint_every", "threads")


@dataclass(frozen=True)
class Sample:
    """One test problem and the completion of each model: column (start, then arms) -> (text, outcome)."""

    task: str
    decoding: str
    prompt: str
    gold: str
    texts: dict[str, tuple[str, str]]


def command(run: RunRecord, out: str) -> str:
    """The `harness run` command that reproduces this record, from the fields that are not at their defaults."""
    config, sources = run.record["config"], run.record["config"]["sources"]
    fields: dict[str, Any] = {}
    for group in GROUPS:
        table = config.get(group, {})  # a record may be older than the group
        changed = {k: v for k, v in table.items() if sources.get(f"{group}.{k}", "profile") != "profile"}
        named = {"name": config[f"{group}_name"]} if f"{group}_name" in config else {}
        if changed or f"{group}_name" in sources:
            fields[group] = {**named, **changed}
    for name, value in config.items():
        if name not in (*OWN, *GROUPS, "algo_name", "task_name") and sources.get(name, "profile") != "profile":
            fields[name] = value
    return shlex.join(PlannedRun(run.arm, run.seed, f"{out}/{run.arm}", fields).command("results"))


def commands(results: Results) -> list[str]:
    """One command per arm, at its first seed; the other seeds differ only in `--seed` and `--name`."""
    firsts = [next(iter(by_seed.values())) for by_seed in results.runs.values() if by_seed]
    return [command(run, results.study.name) for run in firsts if "imported" not in run.record]


def versions(results: Results) -> Table:
    """One row per combination of commit, machine and packages."""
    counts: dict[tuple[str, ...], int] = {}
    for run in results:
        e = run.record["environment"]
        if origin := run.record.get("imported"):
            key = ("-", "not known", f"imported from {origin['trainer']}")
            counts[key] = counts.get(key, 0) + 1
            continue
        commit = f"{str(e['commit'])[:10]}{' + local changes' if e['dirty'] else ''}"
        packages = ", ".join(f"{k} {v}" for k, v in e["packages"].items())
        threads = f"{e['threads']} thread{'s' * (e['threads'] != 1)}"
        machine = f"{e['device']}{f' ({cpu})' if (cpu := e.get('cpu')) else ''}, {threads}"
        key = (commit, machine, f"Python {e['python']}, {packages}")
        counts[key] = counts.get(key, 0) + 1
    rows = [[str(n), *key] for key, n in sorted(counts.items())]
    return Table("Versions", ["runs", "commit", "machine", "packages"], rows)


def samples(results: Results) -> list[Sample]:
    """The problems whose completions were kept, on the endpoint's set and the sampled in-domain set, at the lowest seed
    that all arms have finished; empty if the records keep no text."""
    arms = [arm for arm in results.runs if results.seeds(arm)]
    seeds = results.seeds(*arms)
    if not seeds:
        return []
    sampled = [t.name for t in results.tasks if t.domain == "in" and t.temperature]
    problems = []
    for task in [t for t in results.tasks if t.name in (results.endpoint, *sampled[:1])]:
        columns = {arm: results.runs[arm][seeds[0]].outcomes(task.name, 1.0) for arm in arms}
        if 0.0 in results.fractions:
            columns = {"start": results.runs[arms[0]][seeds[0]].outcomes(task.name, 0.0), **columns}
        if not all(columns.values()):  # an arm kept none
            continue
        for rows in zip(*columns.values(), strict=True):
            if all(isinstance(row.get(name), str) for row in rows for name in ("prompt", "gold", "text")):
                texts = {name: (row["text"], row["strict"]) for name, row in zip(columns, rows, strict=True)}
                decoding = f"temperature {task.temperature:g}" if task.temperature else "greedy"
                problems.append(Sample(task.name, decoding, rows[0]["prompt"], rows[0]["gold"], texts))
    return problems
