"""The verifier: what is read as an answer, what is equal, and what a model could do to it."""

from __future__ import annotations

import random
import sys
import time

import pytest

from evals.verification.answers.notation import clean, number
from evals.verification.extraction import READERS, final_part, marked, numbers
from evals.verification.verifier import Format, Outcome, Verdict, Verifier, parse_gold


def dead_worker() -> list[str]:
    """A command that cannot be a worker: whoever starts it learns at once that there is none."""
    return [sys.executable, "-c", ""]


@pytest.fixture
def fast() -> Verifier:
    """A verifier without a worker: a verdict that needs one is a verifier_error."""
    return Verifier(worker=dead_worker())


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("14", "14"), ("18", "18.0"), ("18", "18."), ("18", "18.00."), ("1000", "1,000"), ("1,000", "1000"),
        ("1234567", "1,234,567"), ("1000", "1 000"), ("1000", r"1{,}000"), ("1000", r"1,\!000"), ("0", "-0"),
        ("0.75", "3/4"), ("3/4", "0.75"), ("3/4", r"\frac{3}{4}"), ("1/2", r"\dfrac12"), ("-3/4", r"-\frac{3}{4}"),
        ("-3/4", r"\frac{-3}{4}"), ("3/2", "1 1/2"), ("3/2", r"1\frac{1}{2}"), ("-3/2", "-1 1/2"), ("0.5", ".5"),
        ("3.5", "$3.50"), ("-3.5", "-$3.50"), ("-3.5", "$-3.50"), ("5", r"\$5"), ("50", "50%"), ("50", r"50\%"),
        ("90", r"90^\circ"), ("90", "90°"), ("-5", "\u22125"), ("-5", "- 5"), ("5", "+5"), ("1500", "1.5e3"),
        ("14", r"\boxed{14}"), ("14", "**14**"), ("14", "$14$"), ("14", r"\(14\)"), ("14", r"14\text{ cm}^2"),
        ("14", "x = 14"), ("14", r"f(2) = 14"), ("5", "x = 10/2 = 5"), ("7", "7=7"), ("0014", "14"),
    ],
)  # fmt: skip
def test_numbers_that_are_equal(fast: Verifier, gold: str, answer: str) -> None:
    verdict = fast(f"so\n#### {answer}\n", parse_gold(gold), "hash", True)
    assert (verdict.strict, verdict.lenient) == ("correct", "correct")
    assert fast.counts["expressions"] == 0


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("14", "15"), ("14", "-14"), ("1/3", "0.333333"), ("0.5", "50%"), ("1000", "1"), ("4", "3/4"),
        ("14", "14.0000001"),
        ("5", "x=5=6"), ("6", "x=5=6"), ("6", "5==6"), ("6", "5≈6"),
        ("5", r"5 \approx 6"), ("14", "14 = 15 = 14"), ("5", "x ="),
        ("14", "9**9**9"), ("14", "9^{9^{9}}"), ("14", "10^{100000}"), ("14", "99999!"), ("14", "1e999999999"),
        ("14", "1" * 5_000), ("14", "1" * 15_000), ("14", "(" * 5_000),
    ],
)  # fmt: skip
def test_numbers_that_differ(fast: Verifier, gold: str, answer: str) -> None:
    start = time.perf_counter()
    verdict = fast(f"#### {answer}", parse_gold(gold), "hash", True)
    assert (verdict.strict, verdict.lenient) == ("wrong", "wrong")
    assert fast.counts["expressions"] == 0
    assert time.perf_counter() - start < 2


def test_all_ways_to_write_a_number_vote_together(fast: Verifier) -> None:
    texts = ["#### 3/4", "#### 0.75", r"#### \frac{3}{4}", "#### $0.750.", "#### .75\n#### 3/4"]
    assert {fast(text, "5", "hash", True).answer for text in texts} == {"3/4"}


# ---------------------------------------------------------------- which answer is read


@pytest.mark.parametrize(
    ("format", "text", "strict", "lenient"),
    [
        # hash
        ("hash", "12+2=14\n#### 14", "correct", "correct"),
        ("hash", "12+2=14\r\n#### 14\r\n", "correct", "correct"),
        ("hash", "####14", "correct", "correct"),
        ("hash", "#### 14\n#### 14", "correct", "correct"),
        ("hash", "#### 14.0\n#### 14", "correct", "correct"),
        ("hash", "#### 14\n#### 15", "wrong", "wrong"),
        ("hash", "#### 15\n#### 14", "wrong", "correct"),
        ("hash", "#### 14 then #### 15", "wrong", "wrong"),
        ("hash", "#### 14 or 15", "wrong", "correct"),
        ("hash", "#### 14, 15", "wrong", "wrong"),
        ("hash", "#### Step 1: add\n12+2\n#### Step 2\n#### 14", "correct", "correct"),
        ("hash", "#### 14\n#### Explanation of 3 steps", "correct", "correct"),
        ("hash", "##### 14", "unparseable", "correct"),
        ("hash", "#### 14 apples", "wrong", "correct"),
        ("hash", "#### 14 (3 apples each)", "wrong", "correct"),
        ("hash", "####", "unparseable", "unparseable"),
        ("hash", "#### \n", "unparseable", "unparseable"),
        ("hash", "The answer is 14.", "unparseable", "correct"),
        ("hash", r"\boxed{14}", "unparseable", "correct"),
        ("hash", "#### 15\nThe answer is 14.", "wrong", "wrong"),  # lenient too prefers the task's own format
        ("hash", "#### 14\nThe answer is 15.", "correct", "correct"),
        ("hash", "#### 14\n#### Answer: 15", "wrong", "wrong"),  # the last mark counts, whatever word it has
        ("hash", "#### Answer: 15\n#### 14", "wrong", "correct"),
        ("hash", "#### 14\n#### Total cost = $15", "wrong", "wrong"),
        ("hash", "#### 14\n#### So 15", "wrong", "wrong"),
        ("hash", "#### **Answer:** 14", "correct", "correct"),
        ("hash", "#### Final answer: $14", "correct", "correct"),
        ("hash", "#### Step 1: 5 + 3 = 8\n#### Part 2\n#### 14", "correct", "correct"),
        ("hash", "#### 14\n#### Check: 12 + 2 = 14\n#### Note: 3 ways to see it", "correct", "correct"),
        ("hash", "#### 14\n#### Answer: 15 apples", "wrong", "wrong"),
        ("hash", "#### not 14", "wrong", "wrong"),
        ("hash", "#### 14 thousand", "wrong", "wrong"),
        ("hash", "#### more than 14", "wrong", "wrong"),
        ("hash", "it is 12-(5-3)+4=14", "unparseable", "correct"),
        ("hash", "it is 14-15", "unparseable", "wrong"),
        ("hash", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", "unparseable", "wrong"),
        ("hash", "What is 12 plus 2? 12 plus 2", "unparseable", "wrong"),
        # boxed
        ("boxed", r"so \boxed{14}.", "correct", "correct"),
        ("boxed", r"$\boxed{ 14 }$ and again \fbox{14}", "correct", "correct"),
        ("boxed", r"\boxed{14}, or \boxed{15}", "wrong", "wrong"),
        ("boxed", r"\boxed{15}, or \boxed{14}", "wrong", "correct"),
        ("boxed", r"\boxed{\boxed{14}}", "correct", "correct"),
        ("boxed", r"\boxed{\text{ } 14}", "wrong", "wrong"),
        ("boxed", r"\boxed{14", "unparseable", "correct"),
        ("boxed", r"\boxed{ then \boxed{14}", "correct", "correct"),
        ("boxed", r"\boxed{}", "unparseable", "unparseable"),
        ("boxed", r"\boxed{14} \boxed{}", "correct", "correct"),
        ("boxed", "#### 14", "unparseable", "correct"),
        # answer_is
        ("answer_is", "The answer is 14.", "correct", "correct"),
        ("answer_is", "the final ANSWER is: $14.00. So there.", "correct", "correct"),
        ("answer_is", "The answer is 14.0. The end.", "correct", "correct"),
        ("answer_is", "The answer is\n14", "correct", "correct"),
        ("answer_is", r"**The answer is:** $\boxed{14}$.", "correct", "correct"),
        ("answer_is", "The answer is **14.**", "correct", "correct"),
        ("answer_is", "The answer is 14.5.", "wrong", "wrong"),
        ("answer_is", "The answer is 14 because 7+8 is 15.", "wrong", "correct"),
        ("answer_is", "The answer is 15. No: the answer is 14.", "wrong", "correct"),
        ("answer_is", "The answer is 14. So the answer is 14!", "correct", "correct"),  # a factorial
        ("answer_is", "The answer is .", "unparseable", "unparseable"),
        ("answer_is", "The answer is not known", "wrong", "wrong"),
        # any
        ("hash", "", "unparseable", "unparseable"),
        ("boxed", "   \n", "unparseable", "unparseable"),
        ("hash", "<think></think>", "unparseable", "unparseable"),
        ("hash", "<think></think>\n#### 14", "correct", "correct"),
        ("hash", "<think>#### 15\nor 16</think>#### 14", "correct", "correct"),
        ("hash", "<think>#### 14</think>", "unparseable", "unparseable"),
        ("hash", "#### 14 </think>", "unparseable", "unparseable"),
        ("hash", "<think>#### 14", "unparseable", "unparseable"),
        ("hash", "<reasoning>#### 14</reasoning>\n#### 15", "wrong", "wrong"),
        ("hash", "[THINK]#### 15[/THINK]#### 14", "correct", "correct"),
        ("hash", "#### 14\x00", "wrong", "wrong"),
    ],
)
def test_which_answer_is_read(fast: Verifier, format: Format, text: str, strict: Outcome, lenient: Outcome) -> None:
    verdict = fast(text, "14", format, True)
    assert (verdict.strict, verdict.lenient) == (strict, lenient)
    if strict == "correct":
        assert verdict.answer == "14"
        assert (verdict.value("strict"), verdict.value("lenient")) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("format", "text", "strict", "lenient"),
    [
        ("hash", "", "truncated", "truncated"),
        ("hash", "12+2=14", "truncated", "truncated"),  # the last number is not a final answer
        ("hash", "12+2=14\n####", "truncated", "truncated"),
        ("hash", "12+2=14\n#### 14", "correct", "correct"),
        ("hash", "12+2=14\n#### 15", "wrong", "wrong"),
        ("hash", "The answer is 14.", "truncated", "correct"),
        ("hash", "<think> #### 14", "truncated", "truncated"),
        ("boxed", r"\boxed{14", "truncated", "truncated"),
        ("boxed", r"\boxed{14} and fur", "correct", "correct"),
        ("answer_is", "The answer is", "truncated", "truncated"),
    ],
)
def test_a_completion_that_was_cut(
    fast: Verifier, format: Format, text: str, strict: Outcome, lenient: Outcome
) -> None:
    verdict = fast(text, "14", format, False)
    assert (verdict.strict, verdict.lenient) == (strict, lenient)


def test_different_answers_are_none_for_the_vote(fast: Verifier) -> None:
    assert fast("#### 14\n#### 15", "14", "hash", True) == Verdict("wrong", "wrong", None)
    assert fast("#### 15 apples", "14", "hash", True) == Verdict("wrong", "wrong", "15 apples")
    assert fast("hm", "14", "hash", True).answer is None


def test_only_the_tail_is_read_and_a_hostile_one_costs_no_time(fast: Verifier) -> None:
    assert fast("#### 15\n" + "x" * 20_000 + "#### 14", "14", "hash", True).strict == "correct"
    hostile = [
        "####",
        "\\boxed{",
        "{",
        "the answer is ",
        "1,",
        "-",
        "((",
        "</think>",
        "\\text{",
        "1 1/",
        "9^",
        "1.",
        "the ",
    ]
    for piece in hostile:
        for end in ("", "\n#### ", "\n#### " + piece * 400):
            start = time.perf_counter()
            fast(piece * 10_000 + end, "14", "hash", True)
            assert time.perf_counter() - start < 3, piece


def test_pieces() -> None:
    assert number("3/0") is None and number("") is None and number("--5") is None and number("-$-5") is None
    assert numbers("from 3-5 to -7, (2)-1 and 1,50") == ["3", "5", "-7", "2", "1", "1", "50"]
    assert clean(r"\left(1,\,2\right)") == "(1, 2)" and clean(r"\boxed{1} + \boxed{2}") == r"\boxed{1} + \boxed{2}"
    assert [text for _, text in marked(r"\boxed{\{1\}} \boxed{\frac{1}{x_{2}}}", "boxed")] == [
        r"\{1\}",
        r"\frac{1}{x_{2}}",
    ]
    assert final_part("a</think>b</think>c<think>d") == "c"


@pytest.mark.parametrize(
    ("answer", "correct"),
    [("8", True), ("8.0", True), ("$8$", True), ("24-(25-9)", False), ("8=16/2", False),
     ("2*4", False), ("2^3", False)],
)  # fmt: skip
def test_a_question_is_no_answer_to_itself(fast: Verifier, answer: str, correct: bool) -> None:
    """Where numbers are asked for, nothing may be left to calculate; in either reading."""
    verdict = fast(f"so\n#### {answer}", "8", "hash", True, worked_out=True)
    assert (verdict.strict == "correct") is correct and (verdict.lenient == "correct") is correct
    negative = fast("#### -8", "-8", "hash", True, worked_out=True)
    named = fast("#### 3 1 2", "3 1 2", "hash", True, worked_out=True)  # no number: as it is written
    assert negative.strict == named.strict == "correct"


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("answer", ["48/2", "12*2", r"\frac{48}{2}", "20+4", r"2^3 \cdot 3", r"\sqrt{576}"])
def test_what_is_left_to_calculate_is_right_in_boxes_alone_or_where_it_is_allowed(
    fast: Verifier, format: Format, answer: str
) -> None:
    text = {"hash": f"#### {answer}", "boxed": rf"\boxed{{{answer}}}", "answer_is": f"The answer is {answer}."}[format]
    assert fast(text, "24", format, True).strict == ("correct" if format == "boxed" else "wrong")
    assert fast(text, "24", format, True, worked_out=False).strict == "correct"
    assert fast(text, "24", format, True, worked_out=True) == Verdict(
        "wrong", "wrong", fast(text, "24", format, True).answer
    )
    assert fast(text, "x", format, True, worked_out=True).strict == "wrong"  # an expression may be one


# ---------------------------------------------------------------- gold answers


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("1,000", "1000"), (" 18.0 ", "18"), ("-7", "-7"), ("$2.50", "5/2"), ("2*9=18\n#### 18", "18"),
        (r"so $\boxed{\frac{1}{2}}$.", "1/2"), (r"x^2+\sqrt{3}", r"x^2+\sqrt{3}"), (r"\text{Evelyn}", r"\text{Evelyn}"),
        ("(1,2)", "(1,2)"), ("C", "C"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("2*sqrt(3)", "2*sqrt(3)"), ("yes", r"\text{yes}"), ("No.", r"\text{no}"), ("false", r"\text{false}"),
        ("#### 5 dollars", "5 dollars"),
        (r"90^\circ", "90°"), (r"15\mbox{ cm}^2", r"15\text{ cm}^2"), (r"\boxed{1} and \boxed{-2}", "1, -2"),
        (r"3 \text{ or } 4", r"3 \text{ or } 4"),
    ],
)  # fmt: skip
def test_gold(text: str, gold: str) -> None:
    assert parse_gold(text) == gold
    assert parse_gold(gold) == gold  # it stays what it is


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"), ("  ", "is empty"), ("####", "no number"), ("$$", "is empty"), ("?", "no number"),
        ("Janet sells 16 eggs.", "no number"), ("nan", "no number"), ("None", "no number"),
        ("#### eighteen", "no number"),
        (r"\frac{1}{2", "unbalanced"), ("1" * 3000, "longer"), ("x+" * 700, "longer"),
    ],
)  # fmt: skip
def test_what_is_no_gold_answer(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_gold(text)


# ---------------------------------------------------------------- words and expressions


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        (r"\text{Evelyn}", "Evelyn", "correct"), (r"\text{Evelyn}", r"\text{evelyn}", "correct"),
        (r"\text{evil}", "live", "wrong"), (r"\text{(C)}", "C", "correct"), (r"\text{(C)}", "(B)", "wrong"),
        ("x^2+1", "x^2 + 1", "correct"), (r"(3,\frac{\pi}{2})", r"\left( 3, \dfrac{\pi}{2} \right)", "correct"),
        ("x^2+1", "9**9**9", "wrong"), ("x^2+1", "x^2+2", "wrong"),
        (r"\int x", r"\int y", "verifier_error"), ("x^2+1", "I think x^2+1", "wrong"),
    ],
)  # fmt: skip
def test_words_and_expressions_without_a_worker(fast: Verifier, gold: str, answer: str, outcome: Outcome) -> None:
    verdict = fast(rf"\boxed{{{answer}}}", parse_gold(gold), "boxed", True)
    assert (verdict.strict, verdict.lenient) == (outcome, outcome)


def test_word_answers_are_one_answer_however_written(fast: Verifier) -> None:
    text = r"\boxed{\text{Evelyn}} \boxed{evelyn}"
    assert fast(text, r"\text{Evelyn}", "boxed", True) == Verdict("correct", "correct", "evelyn")
    assert fast(r"\boxed{Bob} \boxed{Evelyn}", r"\text{Evelyn}", "boxed", True).strict == "wrong"


def test_any_text_has_a_verdict_and_correct_strictly_is_correct_leniently(fast: Verifier) -> None:
    plain = "14 15 #### { } . , $ - / = x ^ ** apples </think> <think> % 1,000 ( ) ! ≈"
    parts = [*plain.split(), " ", "\n", "\r\n"]
    parts += [r"\boxed{", r"\text{", r"\frac", r"\(", r"\)", r"\[", r"\]", "the answer is "]
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(rng.choice(parts) for _ in range(rng.randint(1, 14)))
        for format in READERS:
            ended = rng.random() < 0.5
            verdict = fast(text, "14", format, ended)
            fast._strict(final_part(text), "14", format, ended, False)  # these two raise what the verifier swallows
            fast._lenient(final_part(text), "14", format, ended, False)
            assert verdict.strict != "correct" or verdict.lenient == "correct", text
            assert ("truncated" if ended else "unparseable") not in (verdict.strict, verdict.lenient), text
            assert verdict == fast(text, "14", format, ended)


def test_without_a_worker_every_such_pair_is_an_error_and_is_counted(fast: Verifier) -> None:
    for _ in range(3):
        assert fast(r"\boxed{\int y}", r"\int x", "boxed", True) == Verdict(
            "verifier_error", "verifier_error", r"\int y"
        )
    assert fast.counts == {"completions": 3, "verifier_errors": 3, "expressions": 1, "cached": 5}
    assert fast("#### 14", "14", "hash", True).strict == "correct"


def test_nothing_but_an_unknown_format_raises(fast: Verifier) -> None:
    assert fast(None, "14", "hash", True).strict == "verifier_error"  # type: ignore[arg-type]
    assert fast("#### 14", "", "hash", True) == Verdict("verifier_error", "verifier_error", None)
    with pytest.raises(ValueError, match="hash, boxed, answer_is"):
        fast("#### 14", "14", "hashed", True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        Verifier(timeout=0)
