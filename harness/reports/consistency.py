"""Does a record agree with itself?  Checked before a report is made of it.

| what                                                  | must                                                     |
|-------------------------------------------------------|----------------------------------------------------------|
| an accuracy, a rate, pass@K, maj@K                    | lie in 0..1; any other number is finite                  |
| a number of a set at a fraction                       | be there once                                            |
| an accuracy, a rate, pass@K whose outcomes are kept   | be theirs                                                |
| the spend in the budget's unit, less a reward model's | be at most TWICE the budget, once two rounds are drawn   |
| `status`; names of sets and metrics                   | be one of STATUS; be printable                           |
| `seed`, `algo`, `budget`                              | be those of the configuration                            |
| `config_sha256`                                       | be the configuration's, under the names it was made with |
| a unit of spend                                       | be a number; null in an imported run that did not count it |

A run overshoots its budget by a round at most, which the sizes of rounds keep within 1 % or one group; a first round in
seconds is not known beforehand, and what a reward model samples and trains is paid for whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from evals.statistics.pass_at_k import pass_at_k
from harness.accounting.budget import Budget
from harness.records.fingerprint import config_sha256
from harness.records.runs import has_outcomes, outcome_words, outcomes_place, record_place
from harness.records.schema import EvaluationRow, Record, check_shape

TWICE = 2.0
NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f`<>|]{0,255}")  # of a set, a metric and so on: they stand in tables and figures
STATUS = ("running", "finished", "interrupted", "failed")
RATES = ("unparseable", "truncated", "verifier_error")
EXACT = 1e-6  # a mean of 0s and 1s, as it is rounded on the way into a file


def check_hash(raw: Mapping[str, Any], file: Path) -> None:
    """Of a record as it lies in its file, before its fields are given today's names.  Raises ValueError."""
    said = raw.get("config_sha256")
    if said is not None and isinstance(raw["config"], dict) and said != config_sha256(raw["config"]):
        raise ValueError(f"{file}: config_sha256 is not that of its config: one of them was changed after the run")


def check_consistent(record: Record, folder: Path) -> None:
    """Raises ValueError, one line that names the file, where a record contradicts itself or its outcomes."""
    for fault in (*_evaluations(record), *_origin(record), *_trainings(record), *_spend(record)):
        raise ValueError(f"{record_place(folder)}: {fault}")
    kept: dict[str, list[EvaluationRow]] = {}
    for row in record["evals"]:
        if row["outcomes"]:
            kept.setdefault(row["outcomes"], []).append(row)
    for name, rows in kept.items():
        if has_outcomes(folder, name):  # outcomes that are gone are missed only where they are read
            _check_outcomes(folder, name, rows)


def _evaluations(record: Record) -> Iterator[str]:
    seen = set()
    for i, row in enumerate(record["evals"]):
        for name in ("task", "filter", "metric", "domain", "decoding"):
            if not NAME.fullmatch(text := row[name]):  # type: ignore[literal-required]
                yield f"evals.{i}.{name}: must be a name of at most 255 printable characters, not {text[:60]!r}"
        metric, value, place = row["metric"], row["value"], f"evals.{i}.value"
        if not math.isfinite(value):
            yield f"{place}: must be finite, not {value}"
        if (metric in ("exact_match", *RATES) or _k(metric)) and not 0 <= value <= 1:
            yield f"{place}: {metric} must lie in 0..1, not {value:g}"
        if not 0 <= row["fraction"] <= 1:
            yield f"evals.{i}.fraction: must lie in 0..1, not {row['fraction']:g}"
        if row["n"] < 1:
            yield f"evals.{i}.n: must be at least 1, not {row['n']}"
        if wrong := _wrong(row["spend"], "imported" in record):
            yield f"evals.{i}.spend.{wrong[0]}: must be finite and not negative, not {row['spend'][wrong[0]]}"
        key = (row["fraction"], row["task"], row["filter"], metric)
        if key in seen:
            yield f"evals.{i}: {row['task']}, {row['filter']} {metric} at {row['fraction']:g} is there twice"
        seen.add(key)
        path = PurePath(row["outcomes"])
        if path.is_absolute() or ".." in path.parts:
            yield f"evals.{i}.outcomes: must be a file in the run's folder, not {row['outcomes']!r}"


def _k(metric: str) -> int:
    """K of pass@K or maj@K; 0 of any other metric."""
    kind, _, number = metric.partition("@")
    return int(number) if kind in ("pass", "maj", "avg") and number.isdecimal() else 0


def _origin(record: Record) -> Iterator[str]:
    if record["status"] not in STATUS:
        yield f"status: must be one of {', '.join(STATUS)}, not {record['status'][:60]!r}"
    config, budget = record["config"], record["budget"]
    for name, field in (("seed", "seed"), ("algo", "algo_name")):
        if field in config and record[name] != config[field]:  # type: ignore[literal-required]
            yield f"{name}: is {record[name]}, in its config {config[field]}"  # type: ignore[literal-required]
    try:
        same = Budget.parse(config["budget"]) == Budget(budget["unit"], budget["limit"])
    except ValueError as error:
        yield f"config: {error}"
        return
    if not same:
        yield f"budget: is {budget['unit']}={budget['limit']:g}, in its config {config['budget']}"


def _trainings(record: Record) -> Iterator[str]:
    """Of its own reward model, in their order."""
    for i, training in enumerate(record.get("reward_model", [])):
        if "skipped" in training:
            continue
        try:
            check_shape(training, "training")
        except ValueError as error:
            yield f"reward_model.{i}.{error}"
            return
        for target, quality in training["held_out"].items():
            for name in ("base_rate", "accuracy", "auc", "calibration_error"):
                if quality[name] is not None and not 0 <= quality[name] <= 1:
                    yield f"reward_model.{i}.held_out.{target}.{name}: must lie in 0..1, not {quality[name]:g}"


def _wrong(spend: Mapping[str, float | None], imported: bool) -> list[str]:
    """Units whose spend is no number; what another trainer did not count may be null."""
    fine = {u for u, x in spend.items() if (imported if x is None else math.isfinite(x) and x >= 0)}
    return [unit for unit in spend if unit not in fine]


def _spend(record: Record) -> Iterator[str]:
    spend, unit, limit = record["spend"], record["budget"]["unit"], record["budget"]["limit"]
    if wrong := _wrong(spend, "imported" in record):
        yield f"spend.{wrong[0]}: must be finite and not negative, not {spend[wrong[0]]}"
        return
    if spend["prompts"] is None:
        return
    trainings = [training.get("spend") for training in record.get("reward_model", [])]
    aside = sum(float(t.get(unit, 0.0)) for t in trainings if isinstance(t, dict))
    several = spend["prompts"] > int(record["config"].get("prompts", 0))
    if several and spend[unit] - aside > TWICE * limit:
        yield f"spend.{unit}: {spend[unit]:,.6g} is {spend[unit] / limit:.1f} times the budget of {limit:,.6g}"


# --- outcomes ---------------------------------------------------------------------------------------------------


def _check_outcomes(folder: Path, name: str, rows: list[EvaluationRow]) -> None:
    """The rows of one set at one point against its outcomes."""
    by_reading: dict[str, list[str]] = {}
    for row in rows:
        if row["filter"] not in by_reading:
            by_reading[row["filter"]] = outcome_words(folder, name, row["filter"], row["task"])
        words = by_reading[row["filter"]]
        if not _k(row["metric"]) and len(words) != row["n"]:
            place = outcomes_place(folder, name)
            raise ValueError(f"{place}: {len(words)} outcomes, but the record counts {row['n']}")
        expected = _value(words, row)
        if expected is not None and abs(expected - row["value"]) > EXACT:
            what = f"{row['filter']} {row['metric']} of {row['task']} at {row['fraction']:g}"
            given = f"its outcomes give {expected:g} ({PurePath(name).name})"
            raise ValueError(f"{record_place(folder)}: {what} is {row['value']:g}, and {given}")


def _value(words: list[str], row: EvaluationRow) -> float | None:
    """What the outcomes give; None where they do not tell."""
    metric, k = row["metric"], _k(row["metric"])
    if not words:
        return None
    if metric == "exact_match" or metric in RATES:
        return words.count("correct" if metric == "exact_match" else metric) / len(words)
    if metric.startswith("avg@"):
        return words.count("correct") / len(words)
    if metric.startswith("pass@") and len(words) % row["n"] == 0 and 1 <= k <= (samples := len(words) // row["n"]):
        counts = [words[i : i + samples].count("correct") for i in range(0, len(words), samples)]
        return sum(pass_at_k(samples, count, k) for count in counts) / len(counts)
    return None
