"""Problem ids: the same for a problem written another way, different for another problem."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from evals.tasks.data.identity import canonical, details, problem_id

APART = [  # questions of which each is another problem
    ["What is 10²?", "What is 102?", "What is 10₂?", "What is 10^3?"],
    ["Find log₂8.", "Find log28.", "Find log²8."],
    ["Solve for A.", "Solve for a."],
    ["If A = 2a, find A.", "If A = 2a, find a.", "If a = 2A, find a."],
    ["Let $AB$ be 3.", "Let $ab$ be 3."],
    ["Find n!", "Find n."],
    ["Find f' where f is x.", "Find f where f is x."],
    ["What is 2-sin x?", "What is 2 sin x?"],
    ["What is 5–3?", "What is 5 3?"],
    ["What is 1½?", "What is 11/2?"],
    ["Plot $(a,b)$.", "Plot $(ab)$."],
]
SAME = [  # ways to write one problem
    ["Ann has 1,000 apples.", "ann  has 1000 apples", "ANN HAS 1000 APPLES!"],
    ["A man had $5, Bob $10. I had 3?", "a man had 5 bob 10 i had 3"],
    ["What is 5\u22123?", "what is 5 - 3"],
    ["Ann\u2019s ice-cream", "anns ice cream"],
]


@pytest.mark.parametrize("questions", APART)
def test_other_problems(questions: list[str]) -> None:
    for one, two in itertools.combinations(questions, 2):
        assert problem_id(one) != problem_id(two), (one, two)


@pytest.mark.parametrize("questions", SAME)
def test_the_same_problem(questions: list[str]) -> None:
    assert len({problem_id(question) for question in questions}) == 1


@pytest.mark.parametrize(
    "question",
    [
        "Natalia sold clips to 48 of her friends in April. How many clips did she sell?",
        "A 76-star flag has three rows of 8 stars. Team A scores 4 goals, team B 2. What is 2/5 of Ms. B's?",
        "Two T-shirts cost $5 and a 3-month plan $10 (at 2 L/min). If I had 3, what would I pay in %?",
    ],
)
def test_a_question_without_such_details_has_the_id_of_its_canonical_form(question: str) -> None:
    """So that the splits of a data set that was read before stay."""
    assert details(question) == []
    assert problem_id(question) == hashlib.sha256(canonical(question).encode()).hexdigest()[:16]
