r"""Shape against shape: is the answer the gold answer?  True or False; `Unsupported` where only math-verify can say.

Lists and sets have no order, points and intervals do.  A name on the left (`x = 5`, `m + n = 204`, `f^{-1}(3) = 2`) is
no part of the value where the other side has none.  An inequality of one name is an interval.  Equations are equal
up to a constant factor.  Every side of a chain `x = 10/2 = 5` has to be right, and what is behind an `\approx` has
to be the right number, rounded.
"""

from __future__ import annotations

import contextlib
import re

from evals.verification.answers.evaluation import ratio
from evals.verification.answers.expressions import parse, symbols
from evals.verification.answers.notation import number, plain_words, squeeze, words
from evals.verification.answers.operations import Budget, NoValue
from evals.verification.answers.relations import (
    EQUALITY,
    FLIPPED,
    as_interval,
    coordinates,
    is_name,
    middle,
    named,
    names_agree,
    unlabelled,
)
from evals.verification.answers.scanner import Malformed, Tree, Unsupported
from evals.verification.answers.shapes import Shape, shape
from evals.verification.answers.units import quantity
from evals.verification.answers.values import chosen, leaves, ratio_value, ratios, rounded

ITEMS = 40  # of a list that are compared
_COMMA = re.compile(r"-?(?:0|[1-9][0-9]*),(?:[0-9]{1,2}|[0-9]{4,})|-?0,[0-9]+")
_COMMAS = re.compile(r"\s*,\s*")
_MODULO = re.compile(r"\s*\(?\s*\\pmod\s*(?:\{[^{}]*\}|[0-9])\s*\)?\s*$")


def same(gold: str, answer: str) -> bool:
    r"""Are two answers in plain notation equal?  Unsupported: not decided here.

    >>> same("[0,1)", r"0\le x<1"), same(r"2\sqrt{3}", r"\sqrt{12}"), same("(1,2)", "(2,1)")
    (True, True, False)
    """
    if squeeze(gold) == squeeze(answer) or chosen(gold, answer):
        return True
    if (wanted := words(gold)) is not None and _COMMAS.sub(",", wanted) == _COMMAS.sub(",", plain_words(answer)):
        return True
    gold, answer = _decimal_comma(gold, answer)
    if _MODULO.search(answer) and not _MODULO.search(gold):
        answer = _MODULO.sub("", answer)
    try:
        return _same(_before_approx(shape(gold)), shape(unlabelled(answer, gold)))
    except (Malformed, Budget, NoValue):  # a relation of what are no values
        return False


def _decimal_comma(gold: str, answer: str) -> tuple[str, str]:
    """2,74 as 2.74, where the other is a decimal number; 2,740 is a number of thousands, or two numbers."""
    for text, other in ((answer, gold), (gold, answer)):
        value = number(other)
        if _COMMA.fullmatch(text) and value is not None and value.denominator > 1:
            return (gold, text.replace(",", ".")) if text is answer else (text.replace(",", "."), answer)
    return gold, answer


def _before_approx(gold: Shape) -> Shape:
    r"""A gold answer without what it is about: `\frac{1}{3} \approx 0.33` is 1/3."""
    if gold.kind != "relation" or "~" not in gold.ops or named(gold) is not None:
        return gold
    first = gold.ops.index("~")
    return Shape("relation", gold.items[: first + 1], ops=gold.ops[:first]) if first else gold.items[0]


def _same(gold: Shape, answer: Shape) -> bool:
    if answer.kind == "relation" and gold.kind != "relation":
        return _value_of_relation(gold, answer)
    if gold.kind == "relation":
        return _relations(gold, answer)
    gold, answer = as_interval(gold), as_interval(answer)
    if {gold.kind, answer.kind} <= {"list", "set", "union"} and "leaf" not in (gold.kind, answer.kind):
        return _unordered(gold, answer)
    if gold.kind != answer.kind:
        return _mixed(gold, answer)
    if gold.kind == "leaf":
        return leaves(gold.text, answer.text)
    if gold.kind == "ratio":
        return ratios(gold, answer)
    if (gold.left, gold.right) != (answer.left, answer.right):
        return False
    return len(gold.items) == len(answer.items) and all(map(_same, gold.items, answer.items))


def _mixed(gold: Shape, answer: Shape) -> bool:
    """Shapes of two kinds that may mean the same."""
    if gold.kind == "set" and len(gold.items) == 1:
        return _same(gold.items[0], answer)
    if answer.kind == "set" and len(answer.items) == 1:
        return _same(gold, answer.items[0])
    if {gold.kind, answer.kind} == {"set", "leaf"}:  # the empty one
        leaf = gold if gold.kind == "leaf" else answer
        other = answer if gold.kind == "leaf" else gold
        return not other.items and squeeze(leaf.text) == r"\emptyset"
    if gold.kind == "group" and answer.kind == "list":  # (1, 2) without its brackets
        return (
            (gold.left, gold.right) == ("(", ")")
            and len(gold.items) == len(answer.items)
            and (not answer.words and all(map(_same, gold.items, coordinates(answer.items))))
        )
    if gold.kind == "list" and answer.kind == "group" and answer.left == "(" and answer.right == ")":
        pairs = [
            pair for item in coordinates(gold.items) if (pair := named(item)) is not None
        ]  # x = 1, y = 2 as (1, 2)
        if len(pairs) != len(gold.items) or len({name for name, _ in pairs}) < len(pairs):
            return False
        return len(pairs) == len(answer.items) and all(
            _same(value, item) for (_, value), item in zip(pairs, answer.items, strict=True)
        )
    if gold.kind == "leaf" and answer.kind == "group" and squeeze(gold.text) == r"\mathbb{R}":
        return _same(shape(r"(-\infty,\infty)"), answer)
    if gold.kind == "group" and answer.kind == "leaf" and squeeze(answer.text) == r"\mathbb{R}":
        return _same(gold, shape(r"(-\infty,\infty)"))
    if {gold.kind, answer.kind} == {"ratio", "leaf"}:
        return ratio_value(gold, answer)
    for side in (gold, answer):
        if side.kind == "leaf":
            _readable(side.text)
    return False


def _readable(text: str) -> None:
    """Unsupported where a value may be more than we can read: a sum of matrices, a difference of sets."""
    with contextlib.suppress(Malformed):
        parse(text)


def _unordered(gold: Shape, answer: Shape) -> bool:
    """Each item of one is an item of the other; one that is written twice is one."""
    golds, answers = list(_items(gold)), list(_items(answer))
    if not golds or not answers or len(golds) > ITEMS or len(answers) > ITEMS:
        return not golds and not answers
    mixed = (gold.kind == "union") != (answer.kind == "union")
    if mixed and any(item.kind not in ("group", "set", "leaf") for item in answers):
        return False
    pairs = [[_same(item, other) for other in answers] for item in golds]
    return all(map(any, pairs)) and all(map(any, zip(*pairs, strict=True)))


def _items(group: Shape) -> tuple[Shape, ...]:
    """The items, without `k \\in \\mathbb{Z}` beside others; names that are given once hold for all."""
    kept = [item for item in group.items if not _membership(item)] or list(group.items)
    first = named(kept[0]) if kept else None
    if first is not None and all(item.kind != "relation" for item in kept[1:]):
        kept[0] = first[1]  # n = 1, 2, 3
    return tuple(kept)


def _membership(item: Shape) -> bool:
    return item.kind == "relation" and item.ops == ("in",) and item.items[1].text.strip().startswith(r"\mathbb")


# ---------------------------------------------------------------- relations


def _value_of_relation(gold: Shape, answer: Shape) -> bool:
    """The gold answer is a value, the answer a relation: x = 5, x = 10/2 = 5, x \\in [0, 1], 0 < x < 1."""
    if answer.ops == ("in",):
        return is_name(answer.items[0], gold) and _same(gold, answer.items[1])
    if set(answer.ops) <= EQUALITY:
        sides, ops = list(answer.items), ["=", *answer.ops]
        if len(sides) > 1 and (_is_empty(sides[0]) or is_name(sides[0], gold)):
            sides, ops = sides[1:], ["=", *ops[2:]]
        return all(
            _same(gold, side) or (op == "~" and i > 0 and rounded(gold, side))
            for i, (side, op) in enumerate(zip(sides, ops, strict=True))
        )
    interval = as_interval(answer)
    return interval.kind != "relation" and gold.kind in ("group", "union", "list") and _same(gold, interval)


def _is_empty(side: Shape) -> bool:
    return side.kind == "leaf" and not side.text.strip()


def _relations(gold: Shape, answer: Shape) -> bool:
    """The gold answer is a relation."""
    ours, theirs = named(gold), named(answer)
    if answer.kind != "relation":
        if ours is not None:
            return _same(ours[1], answer)
        interval = as_interval(gold)
        return interval.kind != "relation" and answer.kind != "leaf" and _same(interval, answer)
    if ours is None or theirs is None or not names_agree(ours[0], theirs[0]):
        pass
    elif all(_same(ours[1], side) for side in answer.items[1:]):
        return True
    a, b = as_interval(gold), as_interval(answer)
    if a.kind != "relation" and b.kind != "relation" and middle(gold) == middle(answer) and _same(a, b):
        return True
    if len(gold.items) == len(answer.items) == 2:
        return _proportional(gold, answer)
    return _chains(gold, answer)


def _chains(gold: Shape, answer: Shape) -> bool:
    """a < b < c against the same, or c > b > a."""
    forms = []
    for relation in (gold, answer):
        items, ops = list(relation.items), list(relation.ops)
        if all(op in FLIPPED for op in ops):
            items, ops = items[::-1], [FLIPPED[op] for op in reversed(ops)]
        forms.append((items, ops))
    (golds, ops), (answers, others) = forms
    return ops == others and len(golds) == len(answers) and all(map(_same, golds, answers))


def _proportional(gold: Shape, answer: Shape) -> bool:
    """l - r of one is c times l - r of the other; with c > 0, and the same sign between them, for inequalities."""
    (op, a), (other, b) = (_difference(relation) for relation in (gold, answer))
    if op != other or not symbols(b) <= symbols(a):
        return False
    sign = ratio(a, b)
    return sign is not None and (sign > 0 or op in ("=", "!="))


def _difference(relation: Shape) -> tuple[str, Tree]:
    op = relation.ops[0]
    left, right = (_tree(item) for item in relation.items)
    if op in FLIPPED:
        op, left, right = FLIPPED[op], right, left
    return op.replace("~", "="), ("add", left, ("neg", right))


def _tree(item: Shape) -> Tree:
    if item.kind != "leaf":
        raise Unsupported(item.kind)
    return parse(item.text.strip())


# ---------------------------------------------------------------- numbers that are worked out


def finished(gold: str, answer: str) -> bool:
    r"""Is nothing left to calculate, where the gold answer is a number?  Of a chain, the last side counts.

    A fraction is a number where the gold answer is no whole one; 1.5 * 10^3 is a way to write a number.

    >>> [finished("18", x) for x in ("18", "9*2", "9*2=18", "18 = 36/2", r"\frac{36}{2}", "1.8 * 10^1")]
    [True, False, True, False, False, True]
    >>> finished("5/2", "5/2"), finished("x+1", "1+x")
    (True, True)
    """
    value = number(quantity(gold).body)
    if value is None:
        return True
    last = shape(unlabelled(answer, gold))
    last = last.items[-1] if last.kind == "relation" else last
    if last.kind != "leaf":
        return True
    try:
        return _is_number(parse(quantity(last.text).body), whole=value.denominator == 1)
    except Unsupported:
        return False  # a sum, an integral
    except Malformed:
        return True  # no number at all: others say that it is wrong


def _is_number(tree: Tree, whole: bool) -> bool:
    kind, *parts = tree
    if kind in ("neg", "deg"):
        return _is_number(parts[0], whole)
    if kind == "div":
        return not whole and all(_is_number(part, whole) for part in parts)
    if kind == "mul":  # scientific notation
        power = parts[1]
        return parts[0][0] in ("num", "neg") and power[:2] == ("pow", ("num", 10)) and _is_number(power[2], True)
    return kind in ("num", "sym", "const")


_FACTOR = re.compile(r"\s*(hundred|thousand|million|billion|trillion)s?\b", re.IGNORECASE)


def magnitude(figure: str, after: str) -> str:
    """A figure and the word of magnitude behind it.

    >>> magnitude("14", " thousand apples"), magnitude("14", " apples")
    ('14 thousand', '14')
    """
    match = _FACTOR.match(after)
    return f"{figure} {match[1].lower()}" if match else figure
