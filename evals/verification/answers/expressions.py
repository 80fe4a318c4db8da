r"""Text -> syntax tree: a small parser for expressions, in LaTeX or plain notation.

    number symbol + - * / ^ ! | | frac sqrt binom floor, functions, implicit products, mixed numbers, degrees

A tree is nested tuples: ("num", 1/2), ("sym", "x"), ("add", a, b), ("fn", "sin", a).  Nothing is computed here.
Time is linear in the text; nesting deeper than DEPTH is refused.  Standard library only.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from evals.verification.answers.scanner import COMMAND, DEPTH, TEXT, Malformed, Scanner, Tree, Unsupported

TRIG = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")
INVERSE = ("arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc")
FUNCTIONS = (*TRIG, *INVERSE, "log", "ln", "lg", "exp")
_LETTER = ("f", "g", "h")  # a letter before a bracket is a function here, elsewhere a factor
_LETTERS = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon
phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega infty ldots ell hbar emptyset
"""
_GREEK = set(_LETTERS.split())
_NAMED = ("overline", "vec", "hat", "bar", "tilde", "widehat", "overrightarrow", "mathbb", "mathcal", "dot")
_NUMBER = re.compile(r"[0-9]{1,3}(?: [0-9]{3})+(?![0-9.])|[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_WORD = re.compile(r"[A-Za-z]+")
_INTEGERS = re.compile(r"\\frac\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))")
_PLAIN = re.compile(r"(?:" + "|".join(sorted(("sqrt", "pi", "abs", *FUNCTIONS), key=len, reverse=True)) + ")")


@lru_cache(4096)
def parse(text: str) -> Tree:
    r"""The tree of an expression.  Malformed or Unsupported where there is none.

    >>> parse("2x"), parse(r"\frac12")
    (('mul', ('num', Fraction(2, 1)), ('sym', 'x')), ('div', ('num', Fraction(1, 1)), ('num', Fraction(2, 1))))
    """
    reader = _Reader(text)
    tree = reader.sum()
    if reader.at < len(text):
        raise Malformed(text[reader.at :][:20])
    return tree


def symbols(tree: Tree) -> set[str]:
    """The names in a tree: its variables.

    >>> sorted(symbols(parse("x_1 + 2y")))
    ['x_1', 'y']
    """
    if tree[0] == "sym":
        return {tree[1]}
    return set().union(*(symbols(part) for part in tree[1:] if isinstance(part, tuple)), set())


def has_imaginary(tree: Tree) -> bool:
    """Does the imaginary unit occur?"""
    return tree == ("const", "i") or any(has_imaginary(part) for part in tree[1:] if isinstance(part, tuple))


class _Reader(Scanner):
    """Recursive descent."""

    # -------------------------------------------------------------- operators

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > DEPTH:
            raise Malformed("too deep")
        tree = self.product()
        while sign := self.take("+", "-"):
            right = self.product()
            tree = self.node("add", tree, right if sign == "+" else self.node("neg", right))
        self.depth -= 1
        return tree

    def product(self) -> Tree:
        signs = 0
        while sign := self.take("+", "-"):
            signs += sign == "-"
        tree = self.power()
        while True:
            if self.take(r"\cdot", r"\times", r"\ast", "*"):
                tree = self.node("mul", tree, self.signed())
            elif self.take("/", r"\div"):
                tree = self.node("div", tree, self.signed())
            elif self.starts_factor():
                tree = self.node("mul", tree, self.power())
            else:
                break
        return self.node("neg", tree) if signs % 2 else tree

    def signed(self) -> Tree:
        if sign := self.take("-", "+"):
            tree = self.power()
            return self.node("neg", tree) if sign == "-" else tree
        return self.power()

    def starts_factor(self) -> bool:
        char = self.text[self.at : self.at + 1]
        if char.isdigit() or char == ".":  # `2 3` is no product
            return not self.text[: self.at].rstrip()[-1:].isdigit()
        if char == "|":
            return self.bars == 0
        return bool(char) and (char.isalpha() or char in "({[" or (char == "\\" and not self.peek(*_CLOSERS)))

    bars = 0  # of | that are open

    def power(self) -> Tree:
        tree = self.atom()
        while True:
            if self.take("^", "**"):
                tree = self.node("pow", tree, self.exponent())
            elif self.peek("!") and not self.peek("!!"):
                self.take("!")
                tree = self.node("fact", tree)
            elif self.take("°"):
                tree = self.node("deg", tree)
            elif self.take(r"\%", "%"):
                pass
            else:
                return tree

    def exponent(self) -> Tree:
        if self.peek("{"):
            return self.group("{", "}")
        if sign := self.take("-", "+"):
            tree = self.exponent()
            return self.node("neg", tree) if sign == "-" else tree
        tree = self.atom()
        if self.take("^", "**"):
            tree = self.node("pow", tree, self.exponent())
        return tree

    # -------------------------------------------------------------- atoms

    def group(self, opening: str, closing: str) -> Tree:
        bars, self.bars = self.bars, 0
        self.need(opening)
        tree = self.sum()
        self.need(closing)
        self.bars = bars
        return tree

    def argument(self) -> Tree:
        r"""What a command takes: a group, or one digit, letter or command, as in \frac12."""
        if self.peek("{"):
            return self.group("{", "}")
        char = self.text[self.at : self.at + 1]
        if char.isdigit():
            self.at += 1
            self.skip()
            return self.node("num", Fraction(char))
        if char.isalpha():
            return self.letter(char)
        if char == "\\":
            return self.atom()
        raise Malformed("an argument is missing")

    def atom(self) -> Tree:
        if number := _NUMBER.match(self.text, self.at):
            return self.number(number)
        for opening, closing in (("(", ")"), ("[", "]"), ("{", "}")):
            if self.peek(opening):
                return self.group(opening, closing)
        if self.take("|"):
            self.bars += 1
            tree = self.sum()
            self.bars -= 1
            self.need("|")
            return self.node("abs", tree)
        if text := TEXT.match(self.text, self.at):
            self.at = text.end()
            self.skip()
            return self.node("sym", " ".join(text[1].split()).strip(" .").casefold() if len(text[1]) > 1 else text[1])
        if command := COMMAND.match(self.text, self.at):
            self.at = command.end()
            self.skip()
            return self.command(command[1])
        if plain := _PLAIN.match(self.text, self.at):
            self.at = plain.end()
            self.skip()
            return self.command(plain[0])
        char = self.text[self.at : self.at + 1]
        if char.isalpha():
            return self.letter(char)
        raise Malformed(f"{char!r} starts no value")

    def number(self, match: re.Match[str]) -> Tree:
        self.at = match.end()
        digits = match[0].replace(" ", "")
        if repeat := re.compile(r"\\(?:overline|bar|dot)\s*\{([0-9]{1,40})\}").match(self.text, self.at):
            self.at = repeat.end()
            self.skip()
            places = len(digits.partition(".")[2])
            rest = Fraction(int(repeat[1]), 10**places * (10 ** len(repeat[1]) - 1))
            return self.node("num", Fraction(digits) + rest)
        if self.text.startswith("_", self.at):
            base = self.subscript()
            digits = digits.lstrip("0") or "0"
            return self.node("num", Fraction(digits)) if base == "10" else self.node("sym", f"{digits}_{base}")
        self.skip()
        tree = self.node("num", Fraction(digits))
        if "." not in digits and (mixed := _INTEGERS.match(self.text, self.at)):
            self.at = mixed.end()
            self.skip()
            below = int(mixed[3] or mixed[4])
            if below == 0:
                raise Malformed("division by zero")
            return self.node("num", int(digits) + Fraction(int(mixed[1] or mixed[2]), below))
        return tree

    def letter(self, char: str) -> Tree:
        """A symbol with its subscript and primes; e and i; f(...) of a function."""
        self.at += 1
        return self.symbol(char)

    def symbol(self, name: str) -> Tree:
        self.skip()
        bare = name
        if self.peek("_"):
            name += "_" + self.subscript()
        while self.take("'", r"^\prime", r"^{\prime}"):
            name += "'"
        if name in ("e", "i"):
            return self.node("const", name)
        if bare in _LETTER and self.peek("(", "^{-1}("):
            if self.take("^{-1}"):
                name += "^-1"
            return self.node("call", name, self.group("(", ")"))
        return self.node("sym", name)

    # -------------------------------------------------------------- commands

    def command(self, name: str) -> Tree:
        if name == "frac":
            above = self.argument()
            return self.node("div", above, self.argument())
        if name == "binom":
            above = self.argument()
            return self.node("binom", above, self.argument())
        if name == "sqrt":
            index = self.group("[", "]") if self.peek("[") else ("num", Fraction(2))
            return self.node("root", index, self.group("(", ")") if self.peek("(") else self.argument())
        if name == "surd":
            return self.node("root", ("num", Fraction(2)), self.atom())
        if name == "abs":
            return self.node("abs", self.group("(", ")"))
        if name == "pi":
            return self.node("const", "pi")
        if name in ("lfloor", "lceil"):
            tree = self.sum()
            self.need(r"\rfloor" if name == "lfloor" else r"\rceil")
            return self.node("floor" if name == "lfloor" else "ceil", tree)
        if name in FUNCTIONS:
            return self.function(name)
        if name in _GREEK:
            return self.symbol("\\" + name)
        if name in _NAMED:
            end = self.text.find("}", self.at)
            if not self.peek("{") or end < 0:
                return self.argument()
            inner, self.at = self.text[self.at + 1 : end], end + 1
            return self.symbol(f"{name} {inner.strip()}")
        raise Unsupported(name)

    def function(self, name: str) -> Tree:
        base = self.node("num", Fraction(10))
        power: Tree | None = None
        for _ in range(2):
            if name in ("log", "ln") and self.take("_"):
                base = self.argument() if not _NUMBER.match(self.text, self.at) else self.atom()
            elif self.take("^", "**"):
                power = self.exponent()
        if power == ("neg", ("num", Fraction(1))) and name in TRIG[:6]:
            name, power = "arc" + name, None
        tree = self.function_argument()
        tree = self.node("log", tree, base) if name in ("log", "lg") else self.node("fn", name, tree)
        return tree if power is None else self.node("pow", tree, power)

    def function_argument(self) -> Tree:
        r"""A group; or what is written next to it up to a sign or another function: \sin 2x \cos y."""
        if self.peek("(", "{", "["):
            return self.group(*{"(": "()", "{": "{}", "[": "[]"}[self.peek("(", "{", "[")])
        tree = self.node("neg", self.power()) if self.take("-") else self.power()
        while self.starts_factor() and not self.is_function():
            tree = self.node("mul", tree, self.power())
        if tree == ("const", "pi") and self.peek("/"):  # \sin \pi/3
            self.take("/")
            tree = self.node("div", tree, self.power())
        return tree

    def is_function(self) -> bool:
        match = COMMAND.match(self.text, self.at) or _PLAIN.match(self.text, self.at)
        return bool(match) and match[0].lstrip("\\") in FUNCTIONS  # type: ignore[index]


_CLOSERS = (r"\rfloor", r"\rceil", r"\cdot", r"\times", r"\div", r"\ast", r"\%")
