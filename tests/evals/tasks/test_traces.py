"""Files of prompts and completions: what is read of a row, what is left out, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.tasks import Problem, Step
from evals.tasks.traces import Trace, read_traces

KNOWN = [Problem("a", "1+2=", "3", "1+2"), Problem("b", "2+2=", "4", "2+2")]
TESTED = [Problem("t", "5+5=", "10")]


def written(folder: Path, *rows: Any) -> str:
    file = folder / "traces.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(file)


def read(file: str, template: str = "") -> tuple[list[Any], list[str]]:
    return read_traces(file, template, "sums", KNOWN, TESTED)


def test_a_row_is_the_tasks_problem_by_id_or_prompt_and_may_come_twice(tmp_path: Path) -> None:
    rows = [{"id": "b", "prompt": "?", "completion": "x"}, {"prompt": "1+2=", "completion": "y"}]
    rows += [{"prompt": "1+2=", "completion": "z"}, {"prompt": "7+1=", "completion": "w", "gold": 8}]
    traces, notices = read(written(tmp_path, *rows))
    assert [(t.id, t.prompt, t.gold, t.source, t.completion) for t in traces[:3]] == [
        ("b", "2+2=", "4", "2+2", "x"),
        ("a", "1+2=", "3", "1+2", "y"),
        ("a", "1+2=", "3", "1+2", "z"),
    ]
    assert isinstance(traces[3], Trace) and (traces[3].gold, traces[3].source) == ("8", None)
    assert notices == [] and all(t.steps is None for t in traces)


def test_evaluation_problems_are_left_out_and_counted(tmp_path: Path) -> None:
    row = {"prompt": "1+2=", "completion": "x"}
    file = written(tmp_path, row, {"prompt": "5+5=", "completion": "x", "gold": "10"})
    assert read(file)[1] == [f"{file}: 1 of 2 rows left out: evaluation problems"]
    file = written(tmp_path, {"prompt": "?", "id": "t", "completion": "x", "gold": "10"})
    with pytest.raises(ValueError, match="every one of its 1 rows is a problem of an evaluation set"):
        read(file)


def test_steps_are_written_as_they_are_and_end_where_they_end(tmp_path: Path) -> None:
    steps = ["1+2=3", {"text": ",3+0=4", "right": False}, {"text": " #### 3"}]
    (trace,), _ = read(written(tmp_path, {"prompt": "1+2=", "steps": steps}))
    assert trace.completion == "1+2=3,3+0=4 #### 3"
    assert trace.steps == (Step(5, True), Step(11, False), Step(18, True))
    file = written(tmp_path, {"prompt": "1+2=", "steps": steps[:2], "answer": 3})
    (trace,), _ = read(file, "<think>{steps}</think>#### {answer}")
    assert trace.completion == "<think>1+2=3,3+0=4</think>#### 3"
    assert trace.steps == (Step(12, True), Step(18, False))


BAD = [
    ({"completion": "x"}, ":1: prompt: no such column; its columns are completion"),
    ({"prompt": 3.5, "completion": ""}, "no training problem of task 'sums', and it has no 'gold' answer"),
    ({"prompt": "1+2="}, "no 'completion' and no 'steps'; name what it is written from with data_completion"),
    ({"prompt": "1+2=", "completion": ["x"]}, ":1: completion: must be text, not ['x']"),
    ({"prompt": "1+2=", "steps": []}, ":1: steps: must be a list of texts, or of {'text', 'right'}, not []"),
    ({"prompt": "1+2=", "steps": ["a", {"text": "b", "right": "no"}]}, "steps: number 2 must be a text, or have"),
    ("[1, 2", "not valid JSON"),
]


@pytest.mark.parametrize(("row", "says"), BAD)
def test_a_bad_row_is_one_line_with_file_and_row(row: Any, says: str, tmp_path: Path) -> None:
    file = written(tmp_path, row)
    with pytest.raises(ValueError) as error:
        read(file)
    assert file in str(error.value) and says in str(error.value) and "\n" not in str(error.value)


def test_a_template_names_columns(tmp_path: Path) -> None:
    file = written(tmp_path, {"prompt": "1+2=", "reasoning": "easy", "answer": "3"})
    assert read(file, "<think>{reasoning}</think>{answer}")[0][0].completion == "<think>easy</think>3"
    with pytest.raises(ValueError, match=":1: thought: no such column; its columns are prompt, reasoning, answer"):
        read(file, "{thought}")
