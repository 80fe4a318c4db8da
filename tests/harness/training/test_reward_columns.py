"""A reward that reads the data's own columns, in a whole run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness.cli.test_main import Call, call  # noqa: F401

REWARD = """
seen = []

async def by_level(completions, level, verdicts, **columns):
    assert set(columns) >= {"question", "answer", "prompts"}
    return [None if x == 3 else 10.0 * x for x in level]
"""


def test_a_run_is_rewarded_by_a_column(call: Call, taught: Path, tmp_path: Path) -> None:  # noqa: F811
    """Levels 1 and 2 get 10 and 20, level 3 nothing: a quarter of the completions leaves, and the mean says so."""
    rows = [{"question": f"{i}+1=", "answer": f"#### {i + 1}", "level": i % 4} for i in range(8)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "1+11=", "answer": "#### 12"}) + "\n")
    (tmp_path / "mine.py").write_text(REWARD)
    words = ["run", "--model", str(taught), "--task", "qa", "--train-file", f"{tmp_path}/train.jsonl", "--test-file"]
    words += [f"{tmp_path}/test.jsonl", "--reward", f"{tmp_path}/mine.py:by_level", "--out", str(tmp_path)]
    words += ["--set", "task.selection_percent=0", "--set", "prompts=8", "--budget", "completions=32", "--quiet"]
    words += ["--set", "task.instruction={question}", "--set", "eval_fractions=1", "--name", "x"]
    code, _, said = call(*words)
    assert code == 1 and "must return a finite number, not None; 8 of 32 completions failed" in said
    code, _, said = call(*words[:-1], "y", "--set", "reward_failures=0.25")
    assert code == 0, said
    (line,) = (tmp_path / "y" / "metrics.jsonl").read_text().splitlines()
    metrics = json.loads(line)
    assert metrics["reward"] == 10.0 and metrics["reward/failed"] == 0.25  # the mean of 0, 10 and 20
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({**r, "level": 0}) + "\n" for r in rows))
    code, _, said = call(*words[:-1], "y", "--set", "reward_failures=0.25", "--resume")
    assert code == 2 and "columns of the training problems" in said
