"""Runs of other trainers: what a log holds is in the record, and what it lacks is null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.accounting.budget import UNITS
from harness.cli import main
from harness.records import runs
from harness.records.archive.folding import fold
from harness.reports.loading import load_results
from harness.reports.report import write_report
from tests.helpers import close

MODEL = ["--model", "some/model"]


def called(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["harness", "import", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main.main()
    return int(end.value.code or 0)


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(right: dict[tuple[str, int], list[int]], **columns: Any) -> list[dict[str, Any]]:
    """A row per problem: (arm, seed) -> what is right of its problems."""
    return [
        {"arm": arm, "seed": seed, "problem": f"q{i}", "correct": x, **columns}
        for (arm, seed), hits in right.items()
        for i, x in enumerate(hits)
    ]


def test_a_table_becomes_runs_that_a_report_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = answers({("grpo", s): [0, 0, 0, 1] for s in (0, 1)} | {("ppo", s): [0, 0, 0, 1] for s in (0, 1)}, step=0)
    end = {("grpo", 0): [1, 1, 1, 1], ("grpo", 1): [1, 1, 0, 1], ("ppo", 0): [1, 0, 0, 1], ("ppo", 1): [0, 0, 0, 1]}
    file = table(tmp_path / "all.jsonl", [*start, *answers(end, step=80)])
    assert called(monkeypatch, "csv", file, *MODEL, "--out", tmp_path / "theirs") == 0
    results = load_results(tmp_path / "theirs")
    got = {(run.arm, run.seed): run.values() for run in results}
    key = ("test", "strict", "exact_match")
    assert {run: [v[0.0, key], v[1.0, key]] for run, v in got.items()} == {
        run: [0.25, sum(hits) / 4] for run, hits in end.items()
    }
    record = runs.read_record(tmp_path / "theirs" / "grpo" / "seed0")
    assert record is not None
    assert record["spend"] == {**dict.fromkeys(UNITS), "updates": 80.0}, "only updates are known"
    assert record["budget"] == {"unit": "updates", "limit": 80.0}
    assert record["imported"]["stated"] == {"model": "some/model", "temperature": 0.0}
    assert [*record["imported"]["files"]] == [str(file)]
    findings = write_report(tmp_path / "theirs")
    close(findings.blocks[0].pairs[0].comparison.pair.mean, (4 + 3 - 2 - 1) / 8)
    text = (tmp_path / "theirs" / "report.md").read_text()
    assert "| grpo | - | - | - | - | 80 | - | - | - |" in text and "trained and judged elsewhere" in text
    assert "nan" not in text and "None" not in text
    before = [run.record for run in results]
    fold(tmp_path / "theirs")
    assert [run.record for run in load_results(tmp_path / "theirs")] == before


def test_several_samples_of_a_problem_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*answers({("a", 0): [1, 0, 0]}), *answers({("a", 0): [1, 1, 0]})]
    file = table(tmp_path / "t.jsonl", rows)
    budget = ["--budget", "generated_tokens=1000", "--temperature", "1"]
    assert called(monkeypatch, "csv", file, *MODEL, *budget, "--out", tmp_path / "o") == 0
    (run,) = load_results(tmp_path / "o")
    assert run.values()[1.0, ("test", "strict", "avg@2")] == 0.5
    assert run.record["spend"]["generated_tokens"] == 1000 and run.record["imported"]["stated"]["budget"]
    hits = load_results(tmp_path / "o").hit_SI("a", "test", 1.0, [0])
    assert hits.tolist() == [[1.0, 0.5, 0.0]]


def test_trls_log_keeps_its_names_and_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for last in (5, 10):
        (tmp_path / f"checkpoint-{last}").mkdir()
        history = [{"step": n, "epoch": 0.1, "reward": n / 10, "kl": 0.5, "note": "x"} for n in range(5, last + 1, 5)]
        state = {"log_history": [*history, {"step": last, "train_runtime": 3.0}]}
        (tmp_path / f"checkpoint-{last}" / "trainer_state.json").write_text(json.dumps(state))
    rows = [*answers({("x", 7): [0, 0]}, step=0), *answers({("x", 7): [1, 0]}, step=10)]
    file = table(tmp_path / "t.jsonl", rows)
    named = [*MODEL, "--arm", "grpo", "--seed", "3", "--group-size", "8", "--outcomes", file]
    assert called(monkeypatch, "trl", tmp_path, *named, "--out", tmp_path / "o") == 0
    rounds = runs.read_rounds(tmp_path / "o" / "grpo" / "seed3")
    assert rounds == [
        {"round": 1, "budget/fraction": 0.5, "spend/updates": 5.0, "reward": 0.5, "kl": 0.5},
        {"round": 2, "budget/fraction": 1.0, "spend/updates": 10.0, "reward": 1.0, "kl": 0.5, "train_runtime": 3.0},
    ]
    (run,) = load_results(tmp_path / "o")
    assert (run.arm, run.seed, run.record["config"]["group_size"]) == ("grpo", 3, 8), "the flags win over the columns"


def test_verls_steps_are_batches_of_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = table(
        tmp_path / "log.jsonl",
        [{"step": n, "data": {"critic/score/mean": 0.1 * n, "actor/entropy": 0.4, "name": "x"}} for n in (1, 2)],
    )
    (tmp_path / "val").mkdir()
    for step, scores in ((0, [0.0, 0.2]), (2, [1.0, 0.9])):
        rows = [{"input": f"p{i}", "output": "o", "gts": "1", "score": x, "step": step} for i, x in enumerate(scores)]
        table(tmp_path / "val" / f"{step}.jsonl", rows)
    words = [log, "--validation", tmp_path / "val", "--batch-size", "16", "--group-size", "4", *MODEL]
    words += ["--arm", "grpo", "--seed", "0", "--correct-at", "0.9"]
    assert called(monkeypatch, "verl", *words, "--out", tmp_path / "o") == 0
    (run,) = load_results(tmp_path / "o")
    key = ("test", "strict", "exact_match")
    assert (run.values()[0.0, key], run.values()[1.0, key]) == (0.0, 1.0)
    spend = run.record["spend"]
    assert (spend["prompts"], spend["completions"], spend["updates"]) == (32, 128, None), "a step may be many updates"
    assert [m["reward"] for m in run.metrics()] == [0.1, 0.2] and run.metrics()[0]["critic/score/mean"] == 0.1


def test_acc_decides_where_verl_wrote_it(tmp_path: Path) -> None:
    from harness.records.foreign.verl import read_validation

    rows = [{"input": "a", "score": 1.0, "acc": 0}, {"input": "b", "score": -1.0, "acc": True}]
    table(tmp_path / "4.jsonl", rows)
    (found,) = read_validation(tmp_path, 8, None, 1.0)
    assert [a.correct for a in found.answers] == [False, True] and found.spent == {"prompts": 32.0}


GOOD = {"arm": "a", "seed": 0, "problem": "q", "correct": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**GOOD, "correct": "maybe"}], "row 1: correct: must be 0 or 1, true or false, not 'maybe'"),
        ([GOOD, {**GOOD, "seed": "x"}], "row 2: seed: must be a whole number, not 'x'"),
        ([{**GOOD, "arm": "../up"}], "row 1: arm: must be a name without '/'"),
        ([{**GOOD, "step": -1}], "row 1: step: must be a number from 0, not -1"),
        ([{"arm": "a", "seed": 0, "problem": "q"}], "no column 'correct'; it has arm, seed, problem"),
        ([GOOD, GOOD, {**GOOD, "problem": "r"}], "1 rows of problem 'r' at the end, of others 2"),
        ([GOOD], "its evaluations have no unit of spend; say what it had: --budget"),
    ],
)
def test_a_bad_table_is_one_line_and_nothing_is_written(
    rows: list[dict[str, Any]],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = table(tmp_path / "t.jsonl", rows)
    assert called(monkeypatch, "csv", file, *MODEL, "--out", tmp_path / "o") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_runs_at_unequal_budgets_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*answers({("a", 0): [1]}, step=100), *answers({("b", 0): [1]}, step=80)]
    file = table(tmp_path / "t.jsonl", rows)
    assert called(monkeypatch, "csv", file, *MODEL, "--budget", "updates=100", "--out", tmp_path / "o") == 2
    error = capsys.readouterr().err
    assert "b seed 0: its last evaluation is at 80 updates, of a budget of 100" in error
    assert not (tmp_path / "o").exists(), "nor is the run that would do"


def test_runs_on_other_problems_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        *answers({("a", 0): [1, 0]}, step=10),
        {"arm": "b", "seed": 0, "problem": "another", "correct": 1, "step": 10},
    ]
    file = table(tmp_path / "t.jsonl", rows)
    assert called(monkeypatch, "csv", file, *MODEL, "--out", tmp_path / "o") == 0
    with pytest.raises(ValueError, match="the evaluation data of 'test' is"):
        load_results(tmp_path / "o")


def test_a_null_spend_is_for_imported_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = table(tmp_path / "t.jsonl", answers({("a", 0): [1, 0]}, step=10))
    assert called(monkeypatch, "csv", file, *MODEL, "--out", tmp_path / "o") == 0
    path = tmp_path / "o" / "a" / "seed0" / "record.json"
    record = json.loads(path.read_text())
    del record["imported"]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="must be finite and not negative, not None"):
        load_results(tmp_path / "o")
