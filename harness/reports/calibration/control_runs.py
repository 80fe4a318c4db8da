"""The finished runs of one arm, read from its folder ARM/seed<k>, and what checks look for in them.

Everything here raises ValueError, naming the file, where a finished run has not left what is looked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records.fingerprint import config_differences
from harness.records.io import read_record
from harness.reports.loading import Run

CLOCKS = ("time", "seconds", "perf", "mem")  # in the names of what differs between two runs of the same numbers


@dataclass(frozen=True)
class Arm:
    """Finished runs by seed, alike in all but the seed; and what else lies in the folder: "seed7 (failed)"."""

    name: str
    runs: dict[int, Run]
    unfinished: list[str]


def read_arm(folder: Path) -> Arm:
    """An arm without a folder has no runs."""
    runs: dict[int, Run] = {}
    unfinished = []
    numbers = [p.name.removeprefix("seed") for p in folder.glob("seed*") if p.is_dir()]
    for seed in sorted(int(x) for x in numbers if x.isdigit()):
        file = folder / f"seed{seed}" / "record.json"
        record = read_record(file.parent)
        if record is None or record["status"] != "finished":
            unfinished.append(f"seed{seed} ({record['status'] if record else 'no record'})")
            continue
        runs[seed] = Run(folder.name, seed, file.parent, record)
        if entry(runs[seed], "seed") != seed:
            raise ValueError(f"{file}: the record of seed {record['seed']}")
        first = next(iter(runs.values()))
        if differ := [x for x in changed(first, runs[seed]) if not x.startswith("seed: ")]:
            raise ValueError(f"{file}: another configuration than {first.folder.name}: {'; '.join(differ)}")
    return Arm(folder.name, runs, unfinished)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not what a finished run leaves: {error!r}") from error


def entry(run: Run, path: str) -> Any:
    """A field of the record: "config.algo.clip_low"."""
    found: Any = run.record
    with _naming(run.folder / "record.json"):
        for name in path.split("."):
            found = found[name]
    return found


def shared(a: Arm, b: Arm) -> list[int]:
    """The seeds that have finished in both."""
    return sorted({*a.runs} & {*b.runs})


def changed(a: Run, b: Run) -> list[str]:
    """The fields in which the configurations of two runs differ."""
    return config_differences(entry(a, "config"), entry(b, "config"))


def accuracy(run: Run, decoding: str, fraction: float) -> float:
    """In domain and strict, at a fraction of the budget."""
    keys = ("domain", "filter", "metric", "decoding", "fraction")
    wanted = ("in", "strict", "exact_match", decoding, fraction)
    with _naming(run.folder / "record.json"):
        found = [float(e["value"]) for e in run.record["evals"] if tuple(e[k] for k in keys) == wanted]
        if len(found) != 1 or not 0 <= found[0] <= 1:
            raise ValueError(f"{decoding} accuracy in domain at {fraction:g} of the budget: {found}")
    return found[0]


def rounds(run: Run) -> list[dict[str, Any]]:
    """Every round's metrics; a run that has finished has had one."""
    found = run.metrics()
    if not found:
        raise ValueError(f"{run.folder / 'metrics.jsonl'}: a finished run has rounds")
    return found


def ends(run: Run, metric: str) -> tuple[float, float]:
    """A metric in the first round and in the last."""
    with _naming(run.folder / "metrics.jsonl"):
        first, last = (float(rounds(run)[i][metric]) for i in (0, -1))
    return first, last


def facts(run: Run) -> dict[str, str]:
    """What the same training gives again, to the last bit: every round's metrics, evaluations and spends, as JSON by
    their place ("round 2 loss"), without what a clock or a meter has read."""
    return dict(_leaves({"round": rounds(run), "evals": entry(run, "evals"), "spend": entry(run, "spend")}))


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value, 1):
            if not any(word in str(name) for word in CLOCKS):
                yield from _leaves(inner, f"{place} {name}".strip())
    else:
        yield place, json.dumps(value)


def sources(*arms: Arm) -> str:
    """ "`grpo`: 39 runs, commit 1b5df44; left out: seed7 (failed)"."""
    return "; ".join(map(_source, arms))


def _source(arm: Arm) -> str:
    commits: Counter[str] = Counter()
    for run in arm.runs.values():
        changes = " with changes" if entry(run, "environment.dirty") else ""
        commits[f"{str(entry(run, 'environment.commit'))[:7]}{changes}"] += 1
    made = [f"commit {commit}{f' ({n})' if len(commits) > 1 else ''}" for commit, n in sorted(commits.items())]
    left = f"; left out: {', '.join(arm.unfinished)}" if arm.unfinished else ""
    runs = f"{len(arm.runs)} run{'s' * (len(arm.runs) != 1)}"
    return f"`{arm.name}`: {', '.join([runs, *made])}{left}"
