"""The characters of an expression: what comes next, and where the reader is.  `expressions.py` says what it means."""

from __future__ import annotations

import re
from typing import Any

Tree = tuple[Any, ...]

DEPTH = 40  # nested groups
SIZE = 600  # nodes of a tree

COMMAND = re.compile(r"\\([A-Za-z]+)")
TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_BASES |= {"ten": "10", "eleven": "11", "twelve": "12", "sixteen": "16"}
_SPACE = re.compile(r"(?:\s|\\quad(?![A-Za-z])|\\qquad(?![A-Za-z])|\\displaystyle(?![A-Za-z])|&(?=\s*$))+")


class Malformed(ValueError):
    """No expression at all: prose, unbalanced brackets, an operator without its operand."""


class Unsupported(ValueError):
    r"""It may be an expression, but not one of these: sums, integrals, limits, any unknown command."""


class Scanner:
    """A text and the place of the next character.  Nodes are counted, so that no text makes a large tree."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth, self.nodes = text, 0, 0, 0
        self.skip()

    # -------------------------------------------------------------- characters

    def skip(self) -> None:
        if match := _SPACE.match(self.text, self.at):
            self.at = match.end()

    def peek(self, *options: str) -> str:
        """The first option that comes next; commands end at a letter's end."""
        for option in options:
            end = self.at + len(option)
            whole = not (option[0] == "\\" and option[-1].isalpha() and self.text[end : end + 1].isalpha())
            if whole and self.text.startswith(option, self.at):
                return option
        return ""

    def take(self, *options: str) -> str:
        option = self.peek(*options)
        if option:
            self.at += len(option)
            self.skip()
        return option

    def need(self, option: str) -> None:
        if not self.take(option):
            raise Malformed(f"{option} is missing")

    def node(self, *parts: Any) -> Tree:
        self.nodes += 1
        if self.nodes > SIZE:
            raise Malformed("too long")
        return parts

    def subscript(self) -> str:
        r"""What follows `_`: a group, a command, digits or a letter; numbers in words as digits: 52_{\text{eight}}."""
        self.at += 1
        self.skip()
        end = self.text.find("}", self.at) if self.peek("{") else self.at
        if TEXT.match(self.text, self.at + 1) and self.peek("{"):  # 52_{\text{eight}}
            end = self.text.find("}", end + 1)
        if self.peek("\\"):
            match = COMMAND.match(self.text, self.at)
            end = match.end() - 1 if match else self.at
        elif not self.peek("{") and (digits := re.compile("[0-9]+").match(self.text, self.at)):
            end = digits.end() - 1
        if end < self.at or self.at >= len(self.text):
            raise Malformed("a subscript is missing")
        raw = self.text[self.at : end + 1]
        self.at = end + 1
        self.skip()
        word = "".join(re.sub(r"[{}\s]|\\text", "", raw).split())
        return _BASES.get(word.lower(), word)
