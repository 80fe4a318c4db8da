"""One value against one: words, numbers, quantities, expressions, ratios."""

from __future__ import annotations

import re
from fractions import Fraction

from evals.verification.answers.evaluation import equal, exact
from evals.verification.answers.expressions import parse, symbols
from evals.verification.answers.notation import number, plain_words, squeeze, words
from evals.verification.answers.operations import Budget, NoValue
from evals.verification.answers.scanner import Malformed, Tree, Unsupported
from evals.verification.answers.shapes import Shape
from evals.verification.answers.units import Quantity, agree, quantity

MANY_DIGITS = 12  # of a decimal that can stand for a number without end: 0.0833333333333333 for 1/12
_DECIMAL = re.compile(r"(-?)([0-9]*)\.([0-9]+)")
_LETTERS = re.compile(r"[^\W\d_][^\W\d_ -]*(?:[ -][^\W\d_]+)*")
_CHOICE = re.compile(
    r"(?:\\text\s*\{\s*)?(?:\(([A-J])\)|([A-J])[.):])[.:]?\s*\}?(?=[\s\\$]|$)(.*)|\\text\s*\{\s*([A-J])\s*\}(?=\s*$)",
    re.DOTALL,
)
_GOES_ON = re.compile(  # A - 5 and A \cdot 2 go on with the letter; (A) -5 does not
    r"\s*(?:[+*/^=<>!_']|-(?!\S)|\\(?:cdot|times|div|pm|mp|le|ge|ne|cup|cap|in|approx|equiv|setminus|circ|to)(?![A-Za-z]))"
)
_OTHER = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])|(?i:\b(?:or|and|not?|wrong|incorrect|never|but)\b)")


def leaves(gold: str, answer: str) -> bool:
    """Are two single values equal?  Unsupported where that is not decided here."""
    gold, answer = gold.strip(), answer.strip()
    if squeeze(gold) == squeeze(answer):
        return True
    if (verdict := _words(gold, answer)) is not None:
        return verdict
    ours, theirs = quantity(gold), quantity(answer)
    if not theirs.body or not agree(ours.unit, theirs.unit):
        return False
    value, claimed = _number(ours), _number(theirs)
    if value is not None and claimed is not None:
        return value == claimed or _long_decimal(gold, value, theirs.body)
    return _expressions(ours, theirs)


def _words(gold: str, answer: str) -> bool | None:
    """As words, where one of them is words; None where none is."""
    if (wanted := words(gold)) is not None:
        return wanted == plain_words(answer)
    if words(answer) is not None and _LETTERS.fullmatch(bare := gold.strip("() .")):
        given = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", answer).strip("() .")
        return given == bare if len(bare) == 1 else given.casefold() == bare.casefold()
    return None


def chosen(gold: str, answer: str) -> bool:
    r"""Is one of them the letter of a choice, and the other that letter with what it stands for?

    >>> chosen(r"\text{(C)}", "(C) 14"), chosen("B", "C. x = 42"), chosen("C", "(C) or (D)"), chosen("C. 5", "C")
    (True, False, False, True)
    """
    return _is_choice(gold, answer) or _is_choice(answer, gold)


def _is_choice(gold: str, answer: str) -> bool:
    letter = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", gold).strip("() .")
    match = _CHOICE.fullmatch(answer) if re.fullmatch("[A-J]", letter) else None
    if match is None or letter not in (match[1], match[2], match[4]):
        return False
    rest = match[3] or ""
    return _OTHER.search(rest) is None and _GOES_ON.match(rest) is None


def _number(given: Quantity) -> Fraction | None:
    value = number(given.body)
    return None if value is None else value * given.factor


def _long_decimal(gold: str, value: Fraction, answer: str) -> bool:
    """A decimal of many digits may stand for a fraction that no decimal is, rounded or cut off."""
    match = _DECIMAL.fullmatch(answer)
    if match is None or "." in gold or len((match[2] + match[3]).lstrip("0")) < MANY_DIGITS:
        return False
    return abs(value - Fraction(answer)) < Fraction(1, 10 ** len(match[3])) and not _terminates(value)


def _terminates(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _expressions(gold: Quantity, answer: Quantity) -> bool:
    trees: list[Tree | None] = []
    for given in (answer, gold):
        try:
            value = number(given.body)
            tree = parse(given.body) if value is None else ("num", value)
            trees.append(tree if given.factor == 1 else ("mul", ("num", Fraction(given.factor)), tree))
        except Malformed:
            return False  # text that is equal was found equal before
        except Unsupported:
            trees.append(None)
    theirs, ours = trees
    if ours is None or theirs is None:
        raise Unsupported(answer.body if theirs is None else gold.body)
    if not symbols(theirs) <= symbols(ours):  # 0x is not 0, nor is 14x/x yet 14
        return False
    try:
        return equal(ours, theirs)
    except Budget:
        return ours == theirs  # 9^{9^9} is itself, and nothing else is found out about it


def rounded(gold: Shape, side: Shape) -> bool:
    """Is a side behind an approx the gold answer, rounded to as many places as it has?"""
    if gold.kind != "leaf" or side.kind != "leaf" or (claimed := number(side.text)) is None:
        return False
    try:
        tree = parse(quantity(gold.text).body)
        near: Tree = ("num", claimed)
        half = Fraction(1, 2 * 10 ** len(side.text.partition(".")[2].strip()))
        value = exact(tree)
        if value is not None:
            return abs(value - claimed) <= half
        return _within(tree, near, half)
    except (Malformed, Unsupported, Budget, NoValue):
        return False


def _within(tree: Tree, near: Tree, half: Fraction) -> bool:
    """|tree - near| <= half, by |d| / half rounded down to a whole number."""
    part: Tree = ("div", ("abs", ("add", tree, ("neg", near))), ("num", half))
    return equal(("floor", part), ("num", Fraction(0)))


# ---------------------------------------------------------------- ratios


def ratios(gold: Shape, answer: Shape) -> bool:
    """5:3 is 10:6; a time is not: 4:30 is not 8:60."""
    if len(gold.items) != len(answer.items) or any(item.kind != "leaf" for item in (*gold.items, *answer.items)):
        return False
    pairs = list(zip(gold.items, answer.items, strict=True))
    if is_time(gold):
        times = [(quantity(a.text.strip()), quantity(b.text.strip())) for a, b in pairs]
        return all(a.body == b.body and a.factor == b.factor and agree(a.unit, b.unit) for a, b in times)
    if all(leaves(a.text, b.text) for a, b in pairs):
        return True
    values = [(number(a.text.strip()), number(b.text.strip())) for a, b in pairs]
    if any(a is None or not b for a, b in values):
        return False
    return len({a / b for a, b in values if a is not None and b}) == 1


def is_time(ratio: Shape) -> bool:
    """Two digits of minutes behind an hour."""
    texts = [item.text.strip() for item in ratio.items]
    return (
        re.fullmatch("[01]?[0-9]|2[0-4]", texts[0]) is not None
        and re.match("[0-5][0-9](?![0-9])", texts[1]) is not None
    )


def ratio_value(gold: Shape, answer: Shape) -> bool:
    """5:3 as the fraction 5/3."""
    pair, other = (gold, answer) if gold.kind == "ratio" else (answer, gold)
    if len(pair.items) != 2 or any(item.kind != "leaf" for item in pair.items) or is_time(pair):
        return False
    above, below = (number(item.text.strip()) for item in pair.items)
    value = number(other.text.strip())
    if above is None or not below or value is None or (pair is answer and value.denominator == 1):
        return False  # 5:1 is not 5
    return value == above / below
