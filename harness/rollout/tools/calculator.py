"""`calculator`: exact arithmetic on what a policy writes.  The text is parsed, never evaluated as a program."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from fractions import Fraction

from harness.rollout.tools.protocol import ToolError

LONGEST = 200  # characters of a calculation
DIGITS = 40  # of a number, on either side of the fraction
POWER = 64  # the largest exponent
OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
}
SIGNS = str.maketrans({"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "^": "**"})


class Calculator:
    """<calculator>(23+18)/2</calculator>  ->  20.5"""

    name = "calculator"
    local = True

    def call(self, text: str) -> str:
        """Numbers, + - * / // % ** and brackets; `1,000` is one thousand.

        Exact: a whole number as such, a fraction to twelve digits.  Raises ToolError on anything else.

        >>> Calculator().call("(23+18)/2"), Calculator().call("2**10"), Calculator().call("1/3")
        ('20.5', '1024', '0.333333333333')
        """
        written = text.strip().translate(SIGNS).replace(",", "").removesuffix("=")
        if len(written) > LONGEST:
            raise ToolError(f"a calculation has at most {LONGEST} characters")
        try:
            value = _value(ast.parse(written, mode="eval").body)
        except ZeroDivisionError:
            raise ToolError("division by zero") from None
        except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
            raise ToolError("not a calculation") from None
        if value.denominator == 1:
            return str(value.numerator)
        return f"{float(value):.12g}"


def _value(node: ast.AST) -> Fraction:
    """ValueError for anything but numbers, operators and brackets; ToolError where a number grows too large."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(Fraction(str(node.value)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            if right.denominator != 1 or abs(right) > POWER:
                raise ToolError(f"an exponent is a whole number up to {POWER}")
            return _bounded(Fraction(left ** int(right)))
        if apply := OPERATORS.get(type(node.op)):
            return _bounded(apply(left, right))
    raise ValueError("not such a calculation")


def _bounded(value: Fraction) -> Fraction:
    if max(abs(value.numerator), value.denominator) >= 10**DIGITS:
        raise ToolError(f"a number has at most {DIGITS} digits")
    return value
