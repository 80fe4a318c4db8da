"""Several boxes of one text: one list, with the names before them, or the parts of a question."""

from __future__ import annotations

import pytest

from evals.verification.verifier import Verifier, parse_gold


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        ("x=1, y=2", r"$x = \boxed{1}$ and $y = \boxed{2}$", "correct"),
        ("x=1, y=2", r"$y = \boxed{2}, x = \boxed{1}$", "correct"),
        ("x=1, y=2", r"$x = \boxed{2}$ and $y = \boxed{1}$", "wrong"),
        ("x=1, y=2", r"$x = \boxed{1}$, so $y = \boxed{2}$", "wrong"),  # more than signs between them
        ("1, 2", r"$x = \boxed{1}$ and $y = \boxed{2}$", "correct"),
        ("1, 2", r"$x = \boxed{1}, x = \boxed{2}$", "correct"),
        ("1, 2", r"$x = \boxed{1}, x = \boxed{3}$", "wrong"),
        ("(1, 2)", r"$x = \boxed{1}$ and $y = \boxed{2}$", "correct"),
        ("(1, 2)", r"$y = \boxed{1}$ and $x = \boxed{2}$", "wrong"),
        ("2", r"$x = \boxed{1}$ and $y = \boxed{2}$", "wrong"),
        ("y=2", r"$x = \boxed{1}$ and $y = \boxed{2}$", "wrong"),
        ("y_{1}=2x+4, y_{2}=3x", r"\(y_1 = \boxed{2(x+2)}\) and \( y_2 = \boxed{x+2x} \)", "correct"),
        ("y_{1}=2x+4, y_{2}=3x", r"\(y_2 = \boxed{2(x+2)}\) and \( y_1 = \boxed{x+2x} \)", "wrong"),
        ("3, 1", r"$\boxed{3}$ for part (a) and $\boxed{1}$ for part (b)", "correct"),
        ("3, 1", r"$\boxed{1}$ for part (a) and $\boxed{3}$ for part (b)", "wrong"),
        ("3, 1", r"$\boxed{3}$ for part (b) and $\boxed{1}$ for part (a)", "wrong"),
        ("3", r"$\boxed{3}$ for part (a) and $\boxed{1}$ for part (b)", "wrong"),
    ],
)
def test_several_boxes(gold: str, text: str, outcome: str) -> None:
    with Verifier() as verify:
        assert verify(text, parse_gold(gold), "boxed", True).strict == outcome
