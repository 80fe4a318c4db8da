"""What is learned before RL: stories that RL never sees, and written solutions of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.tasks.cold_start import ColdStart
from evals.tasks.data.loading import DataError
from evals.tasks.word_problems import WordProblems

ROWS = [
    {"question": "Ann has 3 boxes of 4 pens. How many?", "answer": "3*4=<<3*4=12>>12 pens.\n#### 12"},
    {"question": "Bob had 9 and ate 2. How many?", "answer": "9-2=<<9-2=7>>7.\n#### 7"},
]


def written(folder: Path, rows: list[dict[str, Any]], name: str = "train.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def test_rl_and_tests_see_none_of_its_stories() -> None:
    task, later = ColdStart(train_size=600, test_size=40), WordProblems(train_size=300, test_size=40, other_size=20)
    read = {p.id for p in task.train()}
    drawn = [*later.train(), *later.selection(), *task.selection(), *(p for s in later.eval_sets() for p in s.problems)]
    assert len(read) == 600 and not read & {p.id for p in drawn}
    assert [s.name for s in task.eval_sets(2)] == [s.name for s in later.eval_sets(2)]


@pytest.mark.parametrize(
    ("keep", "text"), [(False, " 3*4=12 pens.\n#### 12"), (True, " 3*4=<<3*4=12>>12 pens.\n#### 12")]
)
def test_a_file_s_solutions_stand_behind_the_stories(tmp_path: Path, keep: bool, text: str) -> None:
    task = ColdStart(train_size=5, gsm8k=written(tmp_path, ROWS), keep_notes=keep)
    problems = task.train()
    assert len(problems) == 7 and problems[5].prompt == f"{ROWS[0]['question']}\nAnswer:"
    assert task.solution(problems[5]) == text and task.solution(problems[0]) == problems[0].source
    assert task.verify(problems[5], text, True).strict == "correct"
    assert task.verify(problems[5], text.replace("#### 12", "#### 13"), True).strict == "wrong"


def test_what_is_evaluated_is_not_learned(tmp_path: Path) -> None:
    task = ColdStart(
        train_size=5, gsm8k=written(tmp_path, ROWS), eval_files={"gsm8k": written(tmp_path, ROWS[:1], "test.jsonl")}
    )
    assert [p.gold for p in task.train()[5:]] == ["7"] and any("1 problems left out" in n for n in task.notices())


def test_a_file_without_solutions_is_one_line(tmp_path: Path) -> None:
    bare = [{"question": row["question"], "answer": "12"} for row in ROWS]
    with pytest.raises(ValueError, match=r"^task.gsm8k: .* has no written solutions that end with '#### <number>'$"):
        ColdStart(train_size=5, gsm8k=written(tmp_path, bare)).train()
    with pytest.raises(DataError, match="no such file"):
        ColdStart(train_size=5, gsm8k=str(tmp_path / "gone.jsonl")).train()
