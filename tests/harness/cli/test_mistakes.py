"""What a mistyped word is told: the one that was meant, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401 - a fixture

TOLD = {
    "a field without its --set": (["run", "--lr", "1e-5"], "did you mean --set lr=1e-5?"),
    "the same with =": (["run", "--lr=1e-5"], "did you mean --set lr=1e-5?"),
    "without a value": (["run", "--lr"], "did you mean --set lr=VALUE?"),
    "an algorithm's field": (["compare", "--algos", "grpo", "--kl-coef", "0"], "did you mean --set algo.kl_coef=0?"),
    "another trainer's word": (["run", "--learning_rate", "3e-4"], "did you mean --set lr=3e-4?"),
    "its option here": (["run", "--num-generations", "8"], "did you mean --group-size 8?"),
    "a slip in an option": (["run", "--modle", "nano"], "did you mean --model?"),
    "a command": (["rnu"], "Did you mean"),
    "a field": (["run", "--set", "learning_rate=1"], "learning_rate: unknown field (did you mean lr?); valid: "),
    "a table's field": (["run", "--set", "algo.beta=1"], "algo.beta: unknown field (did you mean algo.kl_coef?)"),
    "a field in the wrong table": (["run", "--set", "kl_coef=1"], "(did you mean algo.kl_coef?)"),
    "a run's field in a table": (["run", "--set", "algo.learning_rate=1"], "(did you mean lr?)"),
    "files for a task without": (["run", "--train-file", "x.jsonl"], "for your own: --task qa"),
    "an algorithm for list": (["list", "grop"], "did you mean grpo?"),
    "a seed below 0": (["run", "--seed", "-1"], "seed: must be at least 0, not -1"),
    "a number of threads": (["run", "--threads", "0"], "threads: must be a number from 1, fixed or auto, not '0'"),
    "a folder without --resume": (["run", "results/x"], "harness run --resume results/x"),
    "a folder without a run": (["run", "--resume", "nowhere"], "resume: nowhere holds no run"),
    "a GPU": (["plan", "--gpu", "h1000"], "gpu: unknown 'h1000'; valid: b200, h200"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), TOLD.values(), ids=TOLD)
def test_what_was_meant(
    call: Call,  # noqa: F811
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # noqa: F811
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = call(*words)
    assert code == 2 and expected in one_line(error)
    assert not any(tmp_path.iterdir())


def test_a_word_that_is_near_nothing_is_not_guessed(call: Call) -> None:  # noqa: F811
    assert "did you mean" not in call("run", "--set", "colour=1")[2]
    assert "did you mean" not in call("run", "--colour", "1")[2]
