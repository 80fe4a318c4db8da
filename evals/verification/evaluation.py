"""Syntax tree -> value: exact where it is rational, else to 120 digits; and when two trees are equal.

**Exact.**  Sums, products, quotients, whole powers and factorials of rational numbers are fractions: 1/2^99 is not
1/2^98.  **Numeric.**  Anything else is a real number of 120 digits, compared to 90 by relative difference (so that
6e-34 is not 1.5e-34); a complex one only where `i` occurs or the reals have no value.  **Variables.**  Two trees with
variables are equal where they agree at random points, the same for every run (Schwartz-Zippel).

The budget is of work, not of time: a number of more than BITS bits is not computed, and ends in `Budget`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import libmp  # type: ignore[import-untyped]
from mpmath.ctx_mp import MPContext  # type: ignore[import-untyped]

from evals.verification.expressions import Tree, has_imaginary, symbols

Value = Any  # Fraction, mpf or mpc
Point = dict[str, Fraction]

BITS = 60_000  # of a number's numerator, denominator or exponent
DIGITS, AGREE = 120, 90  # computed, and compared
POINTS = 6

mp = MPContext()
mp.dps = DIGITS
_TOLERANCE = mp.mpf(10) ** -AGREE


class Budget(ArithmeticError):
    """More work than an answer is worth: 9^(9^9), (10^100)!"""


class NoValue(ArithmeticError):
    """Not defined there: a division by zero, the root or logarithm of a negative number."""


# ---------------------------------------------------------------- equality


def equal(a: Tree, b: Tree) -> bool:
    """Have they the same value, at every point where both have one?  Budget where that takes too much work.

    >>> from evals.verification.expressions import parse
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


def close(x: Value, y: Value) -> bool:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    x, y = to_mp(x), to_mp(y)
    size = max(abs(x), abs(y))
    return bool(abs(x - y) <= size * _TOLERANCE)


def is_zero(x: Value) -> bool:
    return bool(x == 0)


def product(x: Value, y: Value) -> Value:
    return x * y if isinstance(x, Fraction) == isinstance(y, Fraction) else to_mp(x) * to_mp(y)


def to_mp(x: Value) -> Value:
    return mp.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x


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


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        large = value.numerator.bit_length() > BITS or value.denominator.bit_length() > BITS
    else:
        if not mp.isfinite(value):
            raise NoValue("infinite")
        large = bool(value) and abs(mp.mag(value)) > BITS
    if large:
        raise Budget("too large")
    return value


def _both(function: Callable[[Value, Value], Value]) -> Callable[[Value, Value, bool], Value]:
    def apply(x: Value, y: Value, _: bool) -> Value:
        if isinstance(x, Fraction) != isinstance(y, Fraction):
            x, y = to_mp(x), to_mp(y)
        return _clean_zero(_bounded(function(x, y)), x)

    return apply


def _clean_zero(value: Value, scale: Value) -> Value:
    """What is left of two equal numbers after rounding is zero: sqrt(2) - sqrt(2)."""
    if isinstance(value, Fraction) or not value:
        return value
    return mp.mpf(0) if abs(value) < abs(scale) * mp.mpf(10) ** (6 - DIGITS) else value


def _divide(x: Value, y: Value, _: bool) -> Value:
    if is_zero(y):
        raise NoValue("division by zero")
    return _bounded(x / y if isinstance(x, Fraction) == isinstance(y, Fraction) else to_mp(x) / to_mp(y))


def _power(x: Value, y: Value, complex_: bool) -> Value:
    if isinstance(y, Fraction) and y.denominator == 1:
        n = int(y)
        if is_zero(x) and n <= 0:
            raise NoValue("0^0")
        if isinstance(x, Fraction):
            if max(x.numerator.bit_length(), x.denominator.bit_length()) * abs(n) > BITS and abs(x) != 1:
                raise Budget("power")
            return x**n
        if abs(mp.mag(x) * n) > BITS or abs(n) > BITS:
            raise Budget("power")
        return _bounded(x**n)
    if isinstance(y, Fraction) and isinstance(x, Fraction) and 1 < y.denominator <= 64:
        if x < 0 and not complex_:
            raise NoValue("a root of a negative number")
        root = _rational_root(x, y.denominator)
        if root is not None:
            return _power(root, Fraction(y.numerator), complex_)
    if is_zero(x):
        if not isinstance(y, mp.mpc) and y > 0:
            return Fraction(0)
        raise NoValue("0^y")
    x, y = to_mp(x), to_mp(y)
    if not complex_ and x < 0:
        raise NoValue("a power of a negative number")
    if abs(mp.log(abs(x), 2) * y) > BITS or abs(y) > BITS:
        raise Budget("power")
    return _bounded(mp.power(x, y))


def _rational_root(x: Fraction, n: int) -> Fraction | None:
    """The n-th root of a number that is not negative, where it is rational."""
    if x < 0:
        return None
    parts = []
    for part in (x.numerator, x.denominator):
        root = _whole_root(part, n)
        if root**n != part:
            return None
        parts.append(root)
    return Fraction(*parts)


def _whole_root(x: int, n: int) -> int:
    """The n-th root of x, rounded down, by Newton's method."""
    if n == 2 or x < 2:
        return math.isqrt(x) if n == 2 else x
    guess = 1 << -(-x.bit_length() // n)
    while True:
        better = ((n - 1) * guess + x // guess ** (n - 1)) // n
        if better >= guess:
            return guess
        guess = better


def _root(n: Value, x: Value, complex_: bool) -> Value:
    whole = isinstance(n, Fraction) and n.denominator == 1 and 1 <= n <= 64
    if whole and int(n) % 2 and not isinstance(x, mp.mpc) and x < 0 and not complex_:
        return -_root(n, -x, complex_)  # the real cube root of -8 is -2
    if is_zero(n):
        raise NoValue("a root of order 0")
    return _power(x, 1 / n if isinstance(n, Fraction) else 1 / to_mp(n), complex_)


def _factorial(x: Value, _: bool) -> Value:
    if isinstance(x, Fraction) and x.denominator == 1 and x >= 0:
        if x > 5_000:
            raise Budget("factorial")
        return Fraction(math.factorial(int(x)))
    if isinstance(x, mp.mpc) or x < 0:
        raise NoValue("a factorial of that")
    if x > 5_000:
        raise Budget("factorial")
    return mp.gamma(to_mp(x) + 1)


def _binomial(n: Value, k: Value, _: bool) -> Value:
    whole = all(isinstance(x, Fraction) and x.denominator == 1 for x in (n, k))
    if whole and 0 <= k and n >= 0:
        if n > 20_000:
            raise Budget("binomial")
        return Fraction(math.comb(int(n), int(k)))
    if any(isinstance(x, mp.mpc) or abs(x) > 5_000 for x in (n, k)):
        raise Budget("binomial")
    return _bounded(mp.binomial(to_mp(n), to_mp(k)))


def _logarithm(x: Value, base: Value, complex_: bool) -> Value:
    if is_zero(x) or is_zero(base) or base == 1 or (not complex_ and (x < 0 or base < 0)):
        raise NoValue("a logarithm of that")
    return mp.log(to_mp(x)) / mp.log(to_mp(base))


def _floor(x: Value, up: bool = False) -> Value:
    if isinstance(x, mp.mpc):
        raise NoValue("no order")
    if isinstance(x, Fraction):
        return Fraction(math.ceil(x) if up else math.floor(x))
    return Fraction(int(mp.ceil(x) if up else mp.floor(x)))


def _absolute(x: Value, _: bool) -> Value:
    return abs(x)


OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": _both(lambda x, y: x + y),
    "mul": _both(lambda x, y: x * y),
    "neg": lambda x, _: -x,
    "div": _divide,
    "pow": _power,
    "root": _root,
    "fact": _factorial,
    "binom": _binomial,
    "log": _logarithm,
    "abs": _absolute,
    "floor": lambda x, _: _floor(x),
    "ceil": lambda x, _: _floor(x, up=True),
}


def _function(name: str, argument: Tree, point: Point, complex_: bool) -> Value:
    x = evaluate(_in_radians(argument), point, complex_)
    if name[0] in "fgh" and not hasattr(mp, name):  # an unknown function: a random one, the same for equal arguments
        text = str(x) if isinstance(x, Fraction) else mp.nstr(x, 40)
        return coordinate(f"{name}({text})", 0)
    x = to_mp(x)
    if name == "ln":
        return _logarithm(x, mp.e * 1, complex_)
    if name == "exp":
        return _power(mp.e * 1, x, complex_)
    if name in ("sinh", "cosh", "tanh") and abs(x) > BITS / 2:
        raise Budget("hyperbolic")
    function = {"arc": "a"}.get(name[:3], "") + name.removeprefix("arc")
    if not complex_ and function in ("asin", "acos") and abs(x) > 1:
        raise NoValue("an arc of that")
    try:
        return _clean_zero(_bounded(getattr(mp, function)(x)), mp.mpf(1))
    except (ZeroDivisionError, ValueError, libmp.ComplexResult):
        raise NoValue(name) from None


def _in_radians(tree: Tree) -> Tree:
    """The argument of an angle's function, with its degrees in radians."""
    if tree[0] == "deg":
        return ("mul", tree[1], ("div", ("const", "pi"), ("num", Fraction(180))))
    return (tree[0], *(_in_radians(part) if isinstance(part, tuple) else part for part in tree[1:]))
