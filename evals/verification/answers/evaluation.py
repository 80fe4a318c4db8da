"""Syntax tree -> value: exact where it is rational, else to 120 digits; and when two trees are equal.

**Exact.**  Sums, products, quotients, whole powers and factorials of rational numbers are fractions: 1/2^99 is not
1/2^98.  **Numeric.**  Anything else is a real number of 120 digits, compared to 90 by relative difference (so that
6e-34 is not 1.5e-34); a complex one only where `i` occurs or the reals have no value.  **Variables.**  Two trees with
variables are equal where they agree at random points, the same for every run (Schwartz-Zippel).

The budget is of work, not of time: a number of more than BITS bits is not computed, and ends in `Budget`.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import lru_cache

from mpmath import libmp  # type: ignore[import-untyped]

from evals.verification.answers.expressions import Tree, has_imaginary, symbols
from evals.verification.answers.operations import (
    BITS,
    OPERATIONS,
    Budget,
    NoValue,
    Value,
    bounded,
    close,
    is_zero,
    logarithm,
    mp,
    power,
    product,
    to_mp,
    without_noise,
)

Point = dict[str, Fraction]

POINTS = 6


# ---------------------------------------------------------------- equality


def equal(a: Tree, b: Tree) -> bool:
    """Have they the same value, at every point where both have one?  Budget where that takes too much work.

    >>> from evals.verification.answers.expressions import parse
    >>> equal(parse("(x+1)^2"), parse("x^2+2x+1")), equal(parse("1/2^{99}"), parse("1/2^{98}"))
    (True, False)
    """
    return _ratio(a, b, scaled=False) is not None


def ratio(a: Tree, b: Tree) -> int | None:
    """The sign of c where a = c b with a constant c that is not zero; None where there is none."""
    return _ratio(a, b, scaled=True)


def _ratio(a: Tree, b: Tree, scaled: bool) -> int | None:
    complex_first = has_imaginary(a) or has_imaginary(b)
    closed = not (symbols(a) or symbols(b))
    for complex_ in [True] if complex_first else [False, True]:
        pairs = [
            (x, y)
            for x, y in zip(_values(a, closed, complex_), _values(b, closed, complex_), strict=True)
            if x is not None and y is not None
        ]
        if len(pairs) >= (1 if closed else 2):
            return _constant(pairs) if scaled else (1 if all(close(x, y) for x, y in pairs) else None)
    return None


def _constant(pairs: list[tuple[Value, Value]]) -> int | None:
    """The sign of the one c with x = c y for all pairs."""
    known = next(((x, y) for x, y in pairs if not (is_zero(x) or is_zero(y))), None)
    if known is None:
        return None
    if not all(close(product(x, known[1]), product(y, known[0])) for x, y in pairs):
        return None
    sign = product(*known)
    return (1 if sign > 0 else -1) if not isinstance(sign, mp.mpc) else -1


# ---------------------------------------------------------------- values


@lru_cache(8192)
def exact(tree: Tree) -> Fraction | None:
    """The value of a closed rational expression; None for any other.  Budget where it is too large."""
    try:
        value = evaluate(tree, {}, complex_=False)
    except (NoValue, KeyError):
        return None
    return value if isinstance(value, Fraction) else None


@lru_cache(8192)
def _values(tree: Tree, closed: bool, complex_: bool) -> tuple[Value | None, ...]:
    """At each point; None where it has no value there."""
    names = symbols(tree)
    values: list[Value | None] = []
    for k in range(1 if closed else POINTS):
        point = {name: coordinate(name, k) for name in names}
        try:
            values.append(evaluate(tree, point, complex_))
        except NoValue:
            values.append(None)
    return tuple(values)


def coordinate(name: str, k: int) -> Fraction:
    """The value of a variable at point k: small, medium and large ones; the last two points have negative ones too."""
    digest = hashlib.sha256(f"{name}/{k}".encode()).digest()
    size = Fraction(int.from_bytes(digest[:3], "big") + 1, 1 << 24) * (1, 3, 7, 40, 3, 11)[k]
    return -size if k >= 4 and digest[3] % 2 else size


def evaluate(tree: Tree, point: Point, complex_: bool) -> Value:
    kind, *parts = tree
    if kind == "num":
        return parts[0]
    if kind == "sym":
        return point[parts[0]]
    if kind == "const":
        if parts[0] == "i" and not complex_:
            raise NoValue("i")
        return {"e": mp.e, "pi": mp.pi, "i": mp.mpc(0, 1)}[parts[0]] * 1
    if kind in ("fn", "call"):
        return _function(parts[0], parts[1], point, complex_)
    if kind == "deg":
        return evaluate(parts[0], point, complex_)
    return OPERATIONS[kind](*(evaluate(part, point, complex_) for part in parts), complex_)


def _function(name: str, argument: Tree, point: Point, complex_: bool) -> Value:
    x = evaluate(_in_radians(argument), point, complex_)
    if name[0] in "fgh" and not hasattr(mp, name):  # an unknown function: a random one, the same for equal arguments
        text = str(x) if isinstance(x, Fraction) else mp.nstr(x, 40)
        return coordinate(f"{name}({text})", 0)
    x = to_mp(x)
    if name == "ln":
        return logarithm(x, mp.e * 1, complex_)
    if name == "exp":
        return power(mp.e * 1, x, complex_)
    if name in ("sinh", "cosh", "tanh") and abs(x) > BITS / 2:
        raise Budget("hyperbolic")
    function = {"arc": "a"}.get(name[:3], "") + name.removeprefix("arc")
    if not complex_ and function in ("asin", "acos") and abs(x) > 1:
        raise NoValue("an arc of that")
    try:
        return without_noise(bounded(getattr(mp, function)(x)), mp.mpf(1))
    except (ZeroDivisionError, ValueError, libmp.ComplexResult):
        raise NoValue(name) from None


def _in_radians(tree: Tree) -> Tree:
    """The argument of an angle's function, with its degrees in radians."""
    if tree[0] == "deg":
        return ("mul", tree[1], ("div", ("const", "pi"), ("num", Fraction(180))))
    return (tree[0], *(_in_radians(part) if isinstance(part, tuple) else part for part in tree[1:]))
