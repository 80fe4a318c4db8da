"""A record that contradicts itself, or its own outcomes, makes no report."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.records.fingerprint import config_sha256
from harness.reports.analysis.summary import summarize
from harness.reports.loading import load_results
from tests.harness.record_factory import LIMIT, N, a_record, change, rows, write

Change = Callable[[dict[str, Any]], object]
STRICT, LENIENT, TRUNCATED = 0, 1, 2  # places of a set's rows


def value(place: int, x: float) -> Change:
    return lambda record: record["evals"][place].update(value=x)


def at_k(metric: str, x: float) -> Change:
    (row, *_) = rows("arithmetic_x4", 1.0, 0.5, kept=False)
    return lambda record: record["evals"].append({**row, "metric": metric, "value": x})


def spend(unit: str, x: float) -> Change:
    return lambda record: record["spend"].update({unit: x})


def training(**quality: Any) -> dict[str, Any]:
    """Of a reward model."""
    held_out = {"n": 8, "base_rate": 0.5, "accuracy": 0.75, "auc": None, "brier": 0.2, "calibration_error": 0.1}
    return {"fraction": 0.0, "held_out": {"outcome": {**held_out, **quality}}, "spend": {"completions": 4 * LIMIT}}


CONTRADICTIONS: dict[str, tuple[Change, str]] = {
    # what is wrong -> (how, what the line must say)
    "an accuracy of seven": (value(STRICT, 7.0), "evals.0.value: exact_match must lie in 0..1, not 7"),
    "a negative accuracy": (value(LENIENT, -0.1), "evals.1.value: exact_match must lie in 0..1"),
    "a rate above 1": (value(TRUNCATED, 1.5), "evals.2.value: truncated must lie in 0..1"),
    "an accuracy that is no number": (value(STRICT, float("nan")), "evals.0.value: must be finite"),
    "pass@K above 1": (at_k("pass@2", 1.01), "pass@2 must lie in 0..1"),
    "maj@K below 0": (at_k("maj@2", -0.01), "maj@2 must lie in 0..1"),
    "an infinite number of another kind": (at_k("perplexity", float("inf")), "must be finite, not inf"),
    "a point beyond the end": (lambda r: r["evals"][0].update(fraction=1.5), "evals.0.fraction: must lie in 0..1"),
    "a set of none": (lambda r: r["evals"][0].update(n=0), "evals.0.n: must be at least 1"),
    "a number twice": (lambda r: r["evals"].append(dict(r["evals"][0])), "exact_match at 0 is there twice"),
    "a number twice, and another": (
        lambda r: r["evals"].append({**r["evals"][0], "value": 0.9, "outcomes": ""}),
        "is there twice",
    ),
    "an accuracy that its outcomes do not give": (value(STRICT, 0.35), "is 0.35, and its outcomes give 0.3"),
    "a lenient one": (value(LENIENT, 0.35), "lenient exact_match of .* is 0.35, and its outcomes give 0.31"),
    "a rate that its outcomes do not give": (value(TRUNCATED, 0.5), "truncated .* is 0.5, and its outcomes give 0"),
    "another number of problems": (lambda r: r["evals"][0].update(n=N + 1), f"{N} outcomes, but .* counts {N + 1}"),
    "outcomes elsewhere": (lambda r: r["evals"][0].update(outcomes="../x"), "must be a file in the run's folder"),
    "outcomes at the root": (lambda r: r["evals"][0].update(outcomes="/etc/x"), "must be a file in the run's folder"),
    "ten budgets": (spend("completions", 10 * LIMIT), "spend.completions: 1,600 is 10.0 times the budget of 160"),
    "more than two": (spend("completions", 2 * LIMIT + 1), "spend.completions: 321 is 2.0 times"),
    "a negative spend": (spend("flops", -1.0), "spend.flops: must be finite and not negative"),
    "an endless spend": (spend("flops", float("inf")), "spend.flops: must be finite"),
    "a negative spend at a point": (
        lambda r: r["evals"][3]["spend"].update(updates=-1),
        "evals.3.spend.updates: must be finite and not negative",
    ),
    "a reward model that nobody measured": (
        lambda r: r.update(reward_model=[{"fraction": 0.0, "spend": {}}]),
        "reward_model.0.held_out: missing",
    ),
    "a reward model's quality that is none": (
        lambda r: r.update(reward_model=[training(auc="good")]),
        "reward_model.0.held_out.outcome.auc.*: must be a number, not 'good'",
    ),
    "a reward model of seven": (
        lambda r: r.update(reward_model=[{"skipped": "no flops"}, training(accuracy=7.0)]),
        "reward_model.1.held_out.outcome.accuracy: must lie in 0..1, not 7",
    ),
    "another seed": (lambda r: r["config"].update(seed=5), "seed: is 0, in its config 5"),
    "another algorithm": (lambda r: r["config"].update(algo_name="ppo"), "algo: is grpo, in its config ppo"),
    "another budget": (lambda r: r["budget"].update(limit=9999.0), "budget: is completions=9999, in its config"),
    "no budget at all": (lambda r: r["config"].update(budget="a lot"), "config: budget: 'a lot' is not UNIT=LIMIT"),
    "a hash of another configuration": (lambda r: r.update(config_sha256="0" * 64), "config_sha256 is not that of"),
    "a configuration that was changed": (
        lambda r: (r.update(config_sha256=config_sha256(r["config"])), r["config"].update(lr=3.0)),
        "config_sha256 is not that of",
    ),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "study" / "grpo" / "seed0", a_record("grpo", 0, [0.3, 0.5, 0.9]))


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_is_one_line_with_the_file(case: str, run: Path) -> None:
    how, expected = CONTRADICTIONS[case]
    load_results(run)
    change(run, how)
    for folder in (run, run.parent.parent):
        with pytest.raises(ValueError, match=rf"^{run}/\S+: .*{expected}") as error:
            load_results(folder)
        assert "\n" not in str(error.value)


SOUND: dict[str, Change] = {
    # what may look wrong and is not
    "a stock task's perplexity": at_k("perplexity", 31.5),
    "a value that was rounded": value(STRICT, 0.3 + 4e-7),
    "overshoot by a round": spend("completions", 1.9 * LIMIT),
    "a first round that was dearer than the budget": lambda r: (
        r["spend"].update(device_seconds=500.0, prompts=32),
        r["budget"].update(unit="device_seconds", limit=1.0),
        r["config"].update(budget="device_seconds=1"),
    ),
    "a reward model that is paid for whole": lambda r: (
        r["spend"].update(completions=5 * LIMIT),
        r.update(reward_model=[training(), {"skipped": "no completions left for it"}]),
    ),
    "the right hash": lambda r: r.update(config_sha256=config_sha256(r["config"])),
    "the right hash of schema 1, under its names": lambda r: (
        r["config"].update(micro_tokens=r["config"].pop("micro_batch_tokens"), algo={"scale": "none"}),
        r.update(schema=1, config_sha256=config_sha256(r["config"])),
    ),
    "another folder for the run": lambda r: (
        r.update(config_sha256=config_sha256(r["config"])),
        r["config"].update(out="elsewhere", name="x"),
    ),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_no_contradiction(case: str, run: Path) -> None:
    change(run, SOUND[case])
    assert load_results(run).example.finished


def test_outcomes_that_are_gone_are_missed_only_where_they_are_read(run: Path) -> None:
    for file in (run / "outcomes").iterdir():
        file.unlink()
    results = load_results(run)
    with pytest.raises(ValueError, match="cannot read the outcomes"):
        results.example.outcomes("arithmetic", 1.0)


def rewrite(file: Path, words: list[str], **more: Any) -> None:
    lines = [json.dumps({"strict": word, "lenient": word, **more}) + "\n" for word in words]
    file.write_bytes(gzip.compress("".join(lines).encode()))


def test_texts_are_not_counted(run: Path) -> None:
    """A completion may say what a field says."""
    hits = ["correct"] * 90 + ["wrong"] * 10
    file = run / "outcomes" / "arithmetic-1.jsonl.gz"
    change(run, lambda r: [row.update(value=0.9) for row in r["evals"] if row["outcomes"].endswith(file.name)
                           and row["metric"] == "exact_match"])  # fmt: skip
    for text in ('{"strict": "correct"}', '\\"strict": "correct"', "\n"):
        rewrite(file, hits, text=text)
        load_results(run)
    rewrite(file, hits, text={"strict": "correct"})  # not ours, but valid: then each line is parsed
    load_results(run)
    rewrite(file, ["correct"] * 91 + ["wrong"] * 9, text={"strict": "correct"})
    with pytest.raises(ValueError, match=r"is 0.9, and its outcomes give 0.91"):
        load_results(run)


@pytest.mark.parametrize(("claimed", "holds"), [(0.5, True), (0.75, False)])
def test_pass_at_k_is_that_of_its_outcomes(claimed: float, holds: bool, run: Path) -> None:
    """Four samples of two problems: one always right, one never."""
    rewrite(run / "outcomes" / "arithmetic_x4-1.jsonl.gz", ["correct"] * 4 + ["wrong"] * 4)
    (row, *_) = rows("arithmetic_x4", 1.0, 0.5)
    added = [{**row, "n": 8}, {**row, "metric": "pass@2", "n": 2, "value": claimed}]
    change(run, lambda r: r["evals"].extend(added))
    if holds:
        load_results(run)
    else:
        with pytest.raises(ValueError, match=r"pass@2 of arithmetic_x4 at 1 is 0.75, and its outcomes give 0.5"):
            load_results(run)


@pytest.mark.parametrize("name", ["record.json", "metrics.jsonl", "outcomes/arithmetic-1.jsonl.gz", "study.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "deep"])
def test_what_is_no_file_is_named(name: str, kind: str, run: Path) -> None:
    """A pipe would keep the reader waiting for ever, and a deep nesting end in a traceback."""
    study = run.parent.parent
    file = study / name if name == "study.json" else run / name
    file.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        deep = "[" * 100_000
        file.write_bytes(gzip.compress(deep.encode()) if name.endswith(".gz") else deep.encode())
    with pytest.raises(ValueError, match=rf"{file}: ") as error:
        load_results(study).example.metrics()
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


BAD_ROUNDS = {
    # a line of metrics.jsonl -> what the message must say
    "a word": (
        '{"round": 1, "frac_reward_zero_std": "high"}',
        "metrics.jsonl:1: 'frac_reward_zero_std': must be a number",
    ),
    "nothing": ('{"round": 1, "reward": null}', "metrics.jsonl:1: 'reward': must be a number, not None"),
    "no place": ('{"round": 1, "frac_reward_zero_std": 0.5}', "metrics.jsonl: a round with .* has no budget/fraction"),
    "no number of a place": ('{"frac_reward_zero_std": 0.5, "budget/fraction": NaN}', "has no budget/fraction"),
}


@pytest.mark.parametrize("case", BAD_ROUNDS)
def test_a_round_that_is_none_is_named(case: str, run: Path) -> None:
    line, expected = BAD_ROUNDS[case]
    (run / "metrics.jsonl").write_text(line + "\n")
    (run.parent.parent / "study.json").write_text(
        json.dumps({"arms": {"grpo": {}}, "seeds": [0], "report": {"logged": ["frac_reward_zero_std"]}})
    )
    with pytest.raises(ValueError, match=rf"^{run}/{expected}|^{run}/.*{expected}"):
        summarize(load_results(run.parent.parent))
