"""The operations of `evaluation.py` on values: fractions where both are, else numbers of 120 digits; all bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mpmath.ctx_mp import MPContext  # type: ignore[import-untyped]

Value = Any  # Fraction, mpf or mpc

BITS = 60_000  # of a number's numerator, denominator or exponent
DIGITS, AGREE = 120, 90  # computed, and compared

mp = MPContext()
mp.dps = DIGITS
_TOLERANCE = mp.mpf(10) ** -AGREE


class Budget(ArithmeticError):
    """More work than an answer is worth: 9^(9^9), (10^100)!"""


class NoValue(ArithmeticError):
    """Not defined there: a division by zero, the root or logarithm of a negative number."""


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


def bounded(value: Value) -> Value:
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
        return without_noise(bounded(function(x, y)), x)

    return apply


def without_noise(value: Value, scale: Value) -> Value:
    """What is left of two equal numbers after rounding is zero: sqrt(2) - sqrt(2)."""
    if isinstance(value, Fraction) or not value:
        return value
    return mp.mpf(0) if abs(value) < abs(scale) * mp.mpf(10) ** (6 - DIGITS) else value


def _divide(x: Value, y: Value, _: bool) -> Value:
    if is_zero(y):
        raise NoValue("division by zero")
    return bounded(x / y if isinstance(x, Fraction) == isinstance(y, Fraction) else to_mp(x) / to_mp(y))


def power(x: Value, y: Value, complex_: bool) -> Value:
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
        return bounded(x**n)
    if isinstance(y, Fraction) and isinstance(x, Fraction) and 1 < y.denominator <= 64:
        if x < 0 and not complex_:
            raise NoValue("a root of a negative number")
        root = _rational_root(x, y.denominator)
        if root is not None:
            return power(root, Fraction(y.numerator), complex_)
    if is_zero(x):
        if not isinstance(y, mp.mpc) and y > 0:
            return Fraction(0)
        raise NoValue("0^y")
    x, y = to_mp(x), to_mp(y)
    if not complex_ and x < 0:
        raise NoValue("a power of a negative number")
    if abs(mp.log(abs(x), 2) * y) > BITS or abs(y) > BITS:
        raise Budget("power")
    return bounded(mp.power(x, y))


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
    return power(x, 1 / n if isinstance(n, Fraction) else 1 / to_mp(n), complex_)


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
    if whole and k >= 0 and n >= 0:
        if n > 20_000:
            raise Budget("binomial")
        return Fraction(math.comb(int(n), int(k)))
    if any(isinstance(x, mp.mpc) or abs(x) > 5_000 for x in (n, k)):
        raise Budget("binomial")
    return bounded(mp.binomial(to_mp(n), to_mp(k)))


def logarithm(x: Value, base: Value, complex_: bool) -> Value:
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
    "pow": power,
    "root": _root,
    "fact": _factorial,
    "binom": _binomial,
    "log": logarithm,
    "abs": _absolute,
    "floor": lambda x, _: _floor(x),
    "ceil": lambda x, _: _floor(x, up=True),
}
