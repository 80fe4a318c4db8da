"""Short answers in words: columns, exact match and F1 by hand, and rows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.tasks.base import Problem
from evals.tasks.open_qa import OpenQA, f1, final
from evals.verification.transcript import Transcript, Turn
from tests.helpers import close


def written(folder: Path, *rows: Any) -> str:
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "q.jsonl")


HOTPOT = {
    "_id": "5",
    "question": "Which city?",
    "answer": "Bergen",
    "supporting_facts": [["Bergen", 0]],
    "level": "hard",
}
NQ = {"question": "who sang it", "answer": ["The Beatles", "Beatles, The"]}
FLASHRAG = {"id": "test_0", "question": "how many", "golden_answers": ["35", "thirty-five"], "metadata": {}}


def problem(*golds: str) -> Problem:
    return Problem("x", "?", golds[0], {"golds": list(golds)})


def test_columns_are_known_by_name(tmp_path: Path) -> None:
    task = OpenQA(train_file=written(tmp_path, HOTPOT, NQ, FLASHRAG, HOTPOT), test_size=1)
    problems = [*task.train(), *task.eval_sets()[0].problems]
    assert sorted(p.source["golds"] for p in problems) == [
        ["35", "thirty-five"],
        ["Bergen"],
        ["The Beatles", "Beatles, The"],
    ]
    assert len(task.train()) == 2 and task.notices() == ["open_qa: 1 of 3 problems are held out as the test set"]
    assert all(p.row and "Question: " in p.prompt for p in problems)
    other = OpenQA(train_file=written(tmp_path, {"q": "x y", "a": "z"}, {"q": "w", "a": "v"}), question="q", answer="a")
    assert len(other.train()) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "?"}, r"q.jsonl:2: no column question or query or problem; there are text"),
        ({"question": "?"}, r"q.jsonl:2: no column golden_answers or answers or answer"),
        ({"question": 3, "answer": "x"}, "q.jsonl:2: the question must be text, not 3"),
        ({"question": "?", "answer": 3}, "q.jsonl:2: answer must be a text, or a list of texts, not 3"),
        ({"question": "?", "answer": []}, "q.jsonl:2: answer must be a text"),
        ({"question": "?", "answer": ["the", "!"]}, "q.jsonl:2: answer has no answer with a word in it"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpenQA(train_file=written(tmp_path, HOTPOT, row)).train()


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="give its questions: --train-file FILE"):
        OpenQA().train()
    for fields, message in (({"test_size": 0}, "test_size"), ({"prompt": "?"}, "must hold {question}")):
        with pytest.raises(ValueError, match=message):
            OpenQA(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ("<answer>the Beatles!</answer>", "correct", "correct"),
        ("<answer>Beatles The</answer>", "correct", "correct"),
        ("<answer>The Beatles, of course</answer>", "wrong", "correct"),
        ("<answer>Beatlesque</answer>", "wrong", "wrong"),
        ("<answer>Queen</answer>", "wrong", "wrong"),
        ("The Beatles", "unparseable", "unparseable"),
        ("<answer>The Beatles</answer><answer>Queen</answer>", "unparseable", "unparseable"),
        ("<answer>Beatles</answer> or <answer>the Beatles</answer>", "correct", "correct"),
        ("<answer>The Beatles", "unparseable", "unparseable"),
    ],
)
def test_verdicts(text: str, strict: str, lenient: str) -> None:
    verdict = OpenQA().verify(problem("The Beatles"), text, True)
    assert (verdict.strict, verdict.lenient) == (strict, lenient)
    cut = OpenQA().verify(problem("The Beatles"), text, False)
    assert cut.strict == ("truncated" if strict == "unparseable" else strict)


def test_f1_by_hand() -> None:
    # common words / (words of both) x 2: {new, york} of {new, york, city} and {new, york}: 2 x 2 / 5
    close(f1("New York City", "new york"), 0.8)
    close(f1("a b b c", "b b b"), 2 * 2 / (3 + 3))  # without the article: b, b, c
    task, found = OpenQA(), problem("york", "new york")
    close(task.measures(found, "<answer>New York City</answer>", task.verify(found, "", True))["f1"], 0.8)
    assert task.measures(found, "New York", task.verify(found, "", True)) == {"f1": 0.0}


def test_an_answer_in_a_result_is_nobodys() -> None:
    said = Transcript("<search>q</search>", [Turn("search", "q", "<answer>York</answer>")])
    assert final(said) is None and OpenQA().verify(problem("York"), said, True).strict == "unparseable"
    assert OpenQA().formatted("x <answer>y</answer>\n") and not OpenQA().formatted("<answer>y</answer> x")
