"""The work of a verdict: linear in the text, bounded, and the same under any load."""

from __future__ import annotations

import time

import pytest

from evals.tasks.arithmetic import Arithmetic
from evals.tasks.base import Problem, Task
from evals.tasks.qa import QuestionAnswer
from evals.tasks.word_problems import WordProblems
from evals.verification.answers.compare import same
from evals.verification.answers.notation import clean
from evals.verification.extraction import READERS
from evals.verification.verifier import Verifier, parse_gold
from tests.evals.verification.test_verifier import dead_worker

_TEXT = r"""
1 1, 1. 1/ 1+ 1-1=1, - (( [ { } | ! ^ 9^ _ _{ = < : ; ' & # #### % $ \$ * ** \\ ~ . e a x m x= f( or_ and_ the_
\boxed{ \boxed_ \text{ \text{a} \text{_cm} \mathrm{ \frac \sqrt \pm_ \cup_ \left \! \, \quad_ \overline{3} \ldots
\begin{pmatrix} \log_ ° ½ ² √ ٣ − <think> </think> the_answer_is_ answer:_ thousand_ <<1+1=2>> {,} 1_ 1_1/ _ !
"""
PIECES = _TEXT.split()
GOLDS = ["14", r"x^2+\sqrt{3}", r"\text{yes}", "(1,2)", r"14\text{ cm}", "12:00"]


@pytest.mark.parametrize("piece", [*PIECES, "_\n", "_\t"])
def test_a_hostile_text_costs_no_time(piece: str) -> None:
    """100,000 characters of it, around an answer and in it."""
    verify = Verifier(worker=dead_worker())
    piece = piece.replace("_", " ") if len(piece) > 1 else piece
    texts = [
        piece * (100_000 // len(piece)) + end for end in ("", "\n#### 14", "\n#### " + piece * (990 // len(piece)))
    ]
    texts += [piece * (size // len(piece)) for size in (990, 1990)]
    start = time.process_time()
    for text in texts:
        for gold in GOLDS:
            for format in READERS:
                marks = {"hash": f"#### {text}", "boxed": rf"\boxed{{{text}}}", "answer_is": f"The answer is {text}"}
                verify(marks[format], gold, format, True)
    for task in (QuestionAnswer(test_file="unread"), Arithmetic(), WordProblems()):
        work_through(task, texts[1])
    assert time.process_time() - start < 4  # of which most is the 90 texts themselves


def work_through(task: Task, text: str) -> None:
    problem = Problem("", "1+1=", "2")
    task.verify(problem, text, True)
    task.key(problem, text)
    task.formatted(text)
    task.step_ends(problem, text)


@pytest.mark.parametrize(
    "answer",
    ["[" * 999, "(" * 500 + ")" * 499, "9^{-9^9}", "9^{9^{9^9}}", "(10^{100})!", "((9!)!)!", "10^{10^{10}}",
     "e^{e^{e^{e^9}}}",
     "2^{99999999}", r"\binom{10^9}{10^8}", r"\sqrt{9^{9^9}}", "1e999999999", "9" * 990, r"\sinh 10^9",
     "x^{x^{x^{9^9}}}",
     r"\frac{1}{(10^9)!}", "((((2^{9})^{9})^{9})^{9})^{9}", r"\text{" * 150, "+".join(["1"] * 480),
     "9" + "!" * 300,
     ",".join("x^{9^9}" for _ in range(100)), "|" * 900, r"\frac" * 190, "^".join("9" * 400),
     r"\lfloor 9^{9^9} \rfloor"],
)  # fmt: skip
def test_an_answer_beyond_the_budget_is_wrong_at_once(answer: str) -> None:
    verify = Verifier(worker=dead_worker())
    start = time.process_time()
    for gold in ("14", "x^2+1", r"2\sqrt{3}", "1, 2, 3"):
        verdict = verify(rf"\boxed{{{answer}}}", gold, "boxed", True)
        assert {verdict.strict, verdict.lenient} <= {"wrong", "unparseable"}, verdict
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", ["9^{9^9}", "(10^{100})!", "2^{99999999}", "x^{9^9}"])
def test_what_is_too_large_to_compute_is_itself_and_nothing_else(text: str) -> None:
    assert same(text, clean(f" {text} .")) and same(text, f"({text})")
    assert not same(text, f"{text}+1") and not same(text, f"2{text}")


@pytest.mark.parametrize("gold", ["12:00", r"1, 2, \ldots, n", "a \\to b", "x \\mapsto x+1", "A B C"])
def test_an_odd_gold_answer_makes_no_errors_of_other_answers(gold: str) -> None:
    """Another answer is wrong, or math-verify is asked and finds it wrong: no group goes unpunished."""
    pytest.importorskip("math_verify")
    with Verifier() as verify:
        for answer, outcome in ((gold, "correct"), ("14", "wrong"), ("x+1", "wrong"), (r"\frac{1}{2}", "wrong")):
            assert verify(rf"\boxed{{{answer}}}", parse_gold(gold), "boxed", True).strict == outcome, answer
        assert verify.counts["verifier_errors"] == 0
