"""Pairs of a gold answer and an answer, with the right verdict, of every kind: one line of `pairs.jsonl` each."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from evals.verification.verifier import Format, Verifier, parse_gold

ROWS = [json.loads(line) for line in Path(__file__).with_name("pairs.jsonl").read_text(encoding="utf-8").splitlines()]
KINDS = sorted({row["kind"] for row in ROWS})
MARKED = {"hash": "so\n#### {}", "boxed": r"so $\boxed{{{}}}$.", "answer_is": "So the answer is {}"}


@pytest.fixture(scope="module")
def verify() -> Iterator[Verifier]:
    with Verifier() as verify:
        yield verify


def test_every_kind_has_pairs_of_both_verdicts() -> None:
    assert len(ROWS) > 700
    assert {(row["kind"], row["right"]) for row in ROWS} == {(kind, r) for kind in KINDS for r in ("correct", "wrong")}
    assert len({(row["format"], row["gold"], row["text"]) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs(verify: Verifier, kind: str) -> None:
    """Correct and wrong as labelled; never an error; what is correct strictly is correct leniently."""
    faults = []
    for row in (row for row in ROWS if row["kind"] == kind):
        if "\\sum" in row["gold"]:
            pytest.importorskip("math_verify")
        verdict = verify(MARKED[row["format"]].format(row["text"]), parse_gold(row["gold"]), row["format"], True)
        if verdict.strict != row["right"] or (verdict.strict == "correct" != verdict.lenient):
            faults.append((row["gold"], row["text"], row["right"], verdict))
    assert faults == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_gold_answer_is_right_and_stays_what_it_is(verify: Verifier, kind: str) -> None:
    for gold, format in {(row["gold"], row["format"]) for row in ROWS if row["kind"] == kind}:
        parsed = parse_gold(gold)
        assert parse_gold(parsed) == parsed
        assert verify(MARKED[format].format(gold), parsed, format, True).strict == "correct", gold


# ---------------------------------------------------------------- numbers, equal and different by construction


def whole(value: int) -> list[str]:
    """Ways to write a whole number."""
    plain, sign, size = str(value), "-" if value < 0 else "", abs(value)
    grouped = f"{size:,}"
    return [
        plain, f"{plain}.0", f"{plain}.", f"{sign}{grouped}", f"{sign}${grouped}", f"{sign}{grouped.replace(',', ' ')}",
        f"${plain}$", f"**{plain}**", f"{sign}00{size}", f"{sign}{grouped.replace(',', '{,}')}",
        f"{sign}{grouped.replace(',', chr(92) + '!,')}", f"{plain}\\%", f"{plain} cm", f"{plain}\\text{{ dollars}}",
        f"x = {plain}", f"\\text{{Total: }} {plain}", f"{2 * value}/2 = {plain}", f"\\boxed{{{plain}}}",
        "".join(chr(ord("٠") + int(c)) if c.isdigit() else c for c in plain), plain.replace("-", "−"),
    ]  # fmt: skip


def rational(value: Fraction) -> list[str]:
    """Ways to write a fraction, as an expression."""
    a, b = value.numerator, value.denominator
    sign, size = "-" if a < 0 else "", abs(a)
    ways = [
        f"{a}/{b}", f"\\frac{{{a}}}{{{b}}}", f"{sign}\\dfrac{{{size}}}{{{b}}}", f"\\frac{{{3 * a}}}{{{3 * b}}}",
        f"\\frac{{{-a}}}{{{-b}}}", f"{a} \\cdot {b}^{{-1}}", f"{a} \\div {b}", f"({a})/({b})",
        f"y = \\frac{{{a}}}{{{b}}}",
        f"\\frac{{{a - b}}}{{{b}}} + 1", f"\\sqrt{{{size * size}}} \\cdot \\frac{{{sign}1}}{{{b}}}",
    ]  # fmt: skip
    if size > b > 1:
        ways += [f"{sign}{size // b}\\frac{{{size % b}}}{{{b}}}", f"{sign}{size // b} {size % b}/{b}"]
    if (10**12) % b == 0:
        digits = f"{size * (10**12 // b):013d}"
        decimal = f"{sign}{digits[:-12]}.{digits[-12:]}".rstrip("0").rstrip(".")
        ways += [decimal, f"{decimal}0" if "." in decimal else f"{decimal}.0"]
    return ways


def near(value: Fraction, rng: random.Random) -> Fraction:
    """Another number, not far."""
    a, b = value.numerator, value.denominator
    ways = [-value, value + 1, value * 10, value / 10, value + Fraction(1, 10**9), Fraction(b, a), value * 2]
    return rng.choice([way for way in ways if way != value] or [value + 1])


@pytest.mark.parametrize(("format", "write"), [("hash", whole), ("boxed", whole), ("boxed", rational)])
def test_a_number_is_right_however_written_and_another_is_wrong(verify: Verifier, format: Format, write) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(0)
    for _ in range(150):
        value = Fraction(rng.choice([rng.randint(-20, 20), rng.randint(-(10**7), 10**7)]) or 1)
        if write is rational:
            value /= rng.choice([2, 3, 4, 5, 7, 8, 9, 11, 16, 25, 60])
        gold, other = parse_gold(str(value)), near(value, rng)
        for text in write(value if write is rational else int(value)):
            assert verify(MARKED[format].format(text), gold, format, True).strict == "correct", (gold, text)
        if write is whole and other.denominator > 1:
            continue
        for text in write(other if write is rational else int(other)):
            verdict = verify(MARKED[format].format(text), gold, format, True)
            assert verdict.strict == "wrong" and verdict.lenient != "verifier_error", (gold, text)


def test_expressions_at_random(verify: Verifier) -> None:
    """(a x + b)(c x + d) multiplied out is equal, with one coefficient changed it is not."""
    rng = random.Random(1)
    for _ in range(60):
        a, b, c, d = (rng.choice([-3, -2, -1, 1, 2, 3, 5]) for _ in range(4))
        gold = parse_gold(f"{a * c}x^2 + {a * d + b * c}x + {b * d}".replace("+ -", "- "))
        for shift, outcome in ((0, "correct"), (1, "wrong")):
            for text in (f"({a}x + {b + shift})({c}x + {d})", f"({d}+{c}x)({a} x+{b + shift})"):
                verdict = verify(MARKED["boxed"].format(text.replace("+ -", "- ")), gold, "boxed", True)
                assert verdict.strict == outcome, (gold, text)
