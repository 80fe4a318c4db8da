r"""Relations: which side is a name, what `name = value` says, inequalities as intervals, labels before an answer."""

from __future__ import annotations

import re

from evals.verification.answers.expressions import parse, symbols
from evals.verification.answers.notation import number, squeeze
from evals.verification.answers.scanner import Malformed, Unsupported
from evals.verification.answers.shapes import Shape, shape
from evals.verification.answers.units import quantity

EQUALITY = {"=", "~"}
FLIPPED = {">": "<", ">=": "<="}
_OPERATOR = re.compile(r"\\(?:sum|prod|i*int|oint|lim|max|min|sup|inf|det|gcd|lcm|deg|dim|arg|Re|Im|Pr|text)(?![a-z])")
_INFINITY = r"\infty"
_BARS = re.compile(r"\|\s*(?:[a-z](?:_(?:\w|\{\w+\}))?|\\[a-z]+)\s*\|")  # of a number; |AB| is a length
_TEXT_LABEL = re.compile(r"\\text\s*\{[^{}0-9]*(?:[:=]|\bis)\s*\}\s*(?=\S)|\\text\s*\{[^{}0-9]+\}\s*:\s*(?=\S)")
_DENIED = re.compile(r"(?i)(?<![a-z])(?:not?|wrong|incorrect|false|never)(?![a-z])")
_LABEL = re.compile(
    r"(?:the\s+)?(?:final\s+)?(?:answer|result|total|solution|sum|value)(?:\s+is|\s*[:=])\s*(?=\S)", re.I
)
_NAME = re.compile(
    r"(?:\\angle|\\triangle|\\overline|\\vec|\\hat|\\bar|\\overrightarrow|m\s*\\angle|\\measuredangle|\\Delta)?\s*"
    r"(?:[A-Za-z]+|\{[A-Za-z]+\}|\\[A-Za-z]+|\\text\s*\{[^{}]*\})(?:_(?:\w|\{[^{}]*\}))?'*(?:\^\{?(?:-1|\\prime)\}?)?"
    r"(?:\s*\([^()=<>]*(?:=[^()]*)?\))?"
)


def unlabelled(answer: str, gold: str) -> str:
    r"""An answer without its label, which the gold answer has not.

    >>> unlabelled(r"\text{Total: } 80", "80"), unlabelled("Answer: 80", "80"), unlabelled("5:3", "5:3")
    ('80', '80', '5:3')
    """
    for label in (_TEXT_LABEL, _LABEL):
        if (match := label.match(answer)) and not label.match(gold) and not _DENIED.search(match[0]):
            return answer[match.end() :]
    return answer


def is_name(side: Shape, gold: Shape) -> bool:
    """Is it what the value is of, and no value itself?  Anything with a variable, where the gold answer has none."""
    if side.kind == "group":
        return all(is_name(item, gold) for item in side.items)
    if side.kind != "leaf":
        return side.kind == "ratio" and all(is_name(item, gold) for item in side.items)
    text = side.text.strip()
    if number(text) is not None or not re.search("[A-Za-z]", text):
        return False
    if simple_name(text):
        return True
    try:
        return not variables(gold) and bool(symbols(parse(text)))
    except Malformed:
        return False
    except Unsupported:  # a sum, an integral, a limit and what it is
        return _OPERATOR.match(text) is not None and not variables(gold)


def simple_name(text: str) -> bool:
    r"""x, x_1, AB, |AB|, f(x), P(X = 3), \angle ABC, \frac{NO}{BO}: names, no expressions; e, i and \pi are values."""
    text = text.strip()
    if text in ("e", "i", r"\pi", r"\infty", "pi"):
        return False
    if text.startswith("|") and text.endswith("|"):
        text = text[1:-1].strip()
    if fraction := re.fullmatch(r"\\frac\s*\{([A-Z]{1,3})\}\s*\{([A-Z]{1,3})\}", text):
        return fraction[1] != fraction[2]
    if re.fullmatch(r"\[[A-Z]{3,6}\]", text):  # an area
        return True
    return _NAME.fullmatch(text) is not None and not re.match(r"\\(?:frac|sqrt|sum|int|begin|infty|pi)(?![a-z])", text)


def variables(group: Shape) -> set[str]:
    if group.kind == "leaf":
        try:
            return symbols(parse(quantity(group.text).body)) - {r"\infty", r"\ldots"}
        except (Malformed, Unsupported):
            return set()
    return set().union(*(variables(item) for item in group.items), set())


def named(item: Shape) -> tuple[str, Shape] | None:
    """The name and the value of `name = value`; None for anything else."""
    if item.kind != "relation" or not set(item.ops) <= EQUALITY | {"in"}:
        return None
    left = item.items[0]
    texts = [part.text for part in left.items] if left.kind in ("group", "ratio") else [left.text]
    if left.kind not in ("leaf", "group", "ratio") or not all(map(simple_name, texts)):
        return None
    return ",".join(map(squeeze, texts)), item.items[-1]


def coordinates(items: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """y = 1, x = 2 in the order of a point, x before y before z; other items as they are."""
    pairs = [(pair[0], item) for item in items if (pair := named(item)) is not None]
    found = [name for name, _ in pairs]
    if len(pairs) < len(items) or len(set(found)) < len(found) or not set(found) <= {"x", "y", "z"}:
        return items
    return tuple(item for _, item in sorted(pairs, key=lambda pair: pair[0]))


def names_agree(gold: str, answer: str) -> bool:
    """Two letters have to be the same letter; anything else is a way to put it."""
    plain = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?'*")
    if plain.fullmatch(gold) and plain.fullmatch(answer):
        return re.sub("[{}]", "", gold) == re.sub("[{}]", "", answer)
    if gold[1:2] == "(" and answer[1:2] == "(":
        return gold == answer
    return True


def middle(relation: Shape) -> str:
    """The name that an inequality is about."""
    name = next((squeeze(item.text) for item in relation.items if item.kind == "leaf" and simple_name(item.text)), "")
    return name.strip("|") if _BARS.fullmatch(name) else name


def _is_simple(side: Shape) -> bool:
    return side.kind == "leaf" and simple_name(side.text)


def as_interval(value: Shape) -> Shape:
    """An inequality of one name as an interval; two of them joined as a union, or as what both leave."""
    if value.kind == "relation" and any(_BARS.fullmatch(item.text.strip()) for item in value.items):
        return value if (bounds := _absolute(value)) is None else _both_signs(value, bounds)
    if value.kind == "relation" and value.ops == ("in",) and _is_simple(value.items[0]):
        return value.items[1]
    if value.kind == "relation" and len(value.items) == 3:
        first, name, last = value.items
        if value.ops[0] in FLIPPED and value.ops[1] in FLIPPED:
            return as_interval(
                Shape("relation", value.items[::-1], ops=tuple(FLIPPED[op] for op in reversed(value.ops)))
            )
        if set(value.ops) <= {"<", "<="} and name.kind == "leaf" and simple_name(name.text):
            left, right = ("[" if value.ops[0] == "<=" else "("), ("]" if value.ops[1] == "<=" else ")")
            return Shape("group", (first, last), left=left, right=right)
    if value.kind == "relation" and value.ops == ("!=",) and _is_simple(value.items[0]):
        low = Shape("group", (shape("-" + _INFINITY), value.items[1]), left="(", right=")")
        high = Shape("group", (value.items[1], shape(_INFINITY)), left="(", right=")")
        return Shape("union", (low, high))
    if value.kind == "relation" and len(value.items) == 2 and value.ops[0] in ("<", "<=", ">", ">="):
        left_, right_ = value.items
        op = value.ops[0]
        if _is_simple(right_) and not _is_simple(left_):
            left_, right_, op = right_, left_, {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[op]
        if _is_simple(left_):
            below, closed = op.startswith("<"), op.endswith("=")
            if below:
                return Shape("group", (shape("-" + _INFINITY), right_), left="(", right="]" if closed else ")")
            return Shape("group", (right_, shape(_INFINITY)), left="[" if closed else "(", right=")")
    if value.kind == "list" and value.items and all(item.kind == "relation" for item in value.items):
        parts = [as_interval(item) for item in value.items]
        if all(part.kind == "group" for part in parts) and len({middle(item) for item in value.items}) == 1:
            both = _overlap(parts) if "or" not in value.words and len(parts) == 2 else None
            return both or Shape("union", tuple(parts))
    return value


Bounds = tuple[Shape | None, bool, Shape | None, bool]  # low, is it included, high, is it included


def _absolute(value: Shape) -> Bounds | None:
    """The bounds of |x| in 1 < |x| <= 2, |x| < 2, 2 > |x|; None for anything else, and where one is below zero."""
    items, ops = value.items, value.ops
    if value.kind != "relation" or len(items) > 3 or not set(ops) <= {"<", "<=", ">", ">="}:
        return None
    if all(op in FLIPPED for op in ops):
        items, ops = items[::-1], tuple(FLIPPED[op] for op in reversed(ops))
    if any(op in FLIPPED for op in ops) or any(item.kind != "leaf" for item in items):
        return None
    at = next((i for i, item in enumerate(items) if _BARS.fullmatch(item.text.strip())), None)
    if at is None or (len(items) == 3 and at != 1):
        return None
    low, high = (items[at - 1] if at > 0 else None), (items[at + 1] if at + 1 < len(items) else None)
    if any(side is not None and (side.text.strip().startswith("-") or "|" in side.text) for side in (low, high)):
        return None
    return low, low is not None and ops[at - 1] == "<=", high, high is not None and ops[at] == "<="


def _both_signs(value: Shape, bounds: Bounds) -> Shape:
    """The real numbers with an absolute value between the bounds."""
    low, from_low, high, to_high = bounds
    ends = high or shape(_INFINITY)
    if low is None or (number(low.text) == 0 and from_low):
        if high is None:
            return value
        return Shape("group", (_minus(ends), ends), left="[" if to_high else "(", right="]" if to_high else ")")
    above = Shape("group", (low, ends), left="[" if from_low else "(", right="]" if to_high else ")")
    below = Shape("group", (_minus(ends), _minus(low)), left="[" if to_high else "(", right="]" if from_low else ")")
    return Shape("union", (below, above))


def _minus(side: Shape) -> Shape:
    text = side.text.strip()
    return shape(f"-({text})" if re.search("[-+]", text) else "0" if number(text) == 0 else f"-{text}")


def _overlap(parts: list[Shape]) -> Shape | None:
    """x > 2 and x < 5 is (2, 5)."""
    below = [p for p in parts if p.items[0].text == "-" + _INFINITY]
    above = [p for p in parts if p.items[1].text == _INFINITY]
    if len(below) != 1 or len(above) != 1:
        return None
    low, high = number(above[0].items[0].text), number(below[0].items[1].text)
    if low is None or high is None or low > high:
        return None
    return Shape("group", (above[0].items[0], below[0].items[1]), left=above[0].left, right=below[0].right)
