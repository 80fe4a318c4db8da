"""Short chains of + and -: generating them, solving them step by step, and checking such solutions.

A problem is a chain of signed items, an item being a number or a bracketed pair:

    12-(5-3)+4=            items: +12, -(+5, -3), +4

A *derivation* is a list of equations.  Each one evaluates a bracket or combines two numbers that are still left, so
most problems have several:

    5-3=2,12-2=10,10+4=14        5-3=2,12+4=16,16-2=14

Every number that is written lies in 0..99.  The final answer is marked as in GSM8K: `#### 14`.
Two problems with the same `canonical` form, which ignores order and brackets, are the same problem; its hash decides
the split, so that splits are disjoint.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

LIMIT = 99  # the largest number ever written: one token of nano's tokenizer
MARK = "#### "
THINK, ENDTHINK = "<think>", "</think>"
PATIENCE = 2000  # failed draws in a row; missing even the smallest split by chance has probability 0.95^2000

# Percentages of the hash space: pretraining, training, tuning and test use four disjoint sets of canonical problems.
SPLITS = {"pretrain": (0, 70), "train": (70, 90), "selection": (90, 95), "test": (95, 100)}

Item = int | tuple[int, ...]  # a number, or a bracket given as its signed numbers, e.g. (5, -3)


def split_of(canonical: str) -> str:
    """The split that a canonical problem belongs to, by its hash."""
    bucket = int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:8], "big") % 100
    return next(name for name, (low, high) in SPLITS.items() if low <= bucket < high)


@dataclass(frozen=True)
class Chain:
    """Signed items of one problem: `signs[i]` is +1 or -1, `items[i]` a number or a bracket.

    >>> Chain((1, -1, 1), (12, (5, -3), 4)).text
    '12-(5-3)+4'
    >>> Chain((1, -1, 1), (12, (5, -3), 4)).value
    14
    """

    signs: tuple[int, ...]
    items: tuple[Item, ...]

    @classmethod
    def parse(cls, text: str) -> Chain:
        """The inverse of `text`.

        >>> Chain.parse("12-(5-3)+4") == Chain((1, -1, 1), (12, (5, -3), 4))
        True
        """
        signs, items = [], []
        for sign, bracket, number in re.findall(r"([+-]?)(?:\(([^)]*)\)|(\d+))", text):
            signs.append(-1 if sign == "-" else 1)
            items.append(tuple(int(x) for x in re.findall(r"-?\d+", bracket)) if bracket else int(number))
        return cls(tuple(signs), tuple(items))

    @property
    def flat(self) -> tuple[int, ...]:
        """The signed numbers with all brackets opened."""
        out: list[int] = []
        for sign, item in zip(self.signs, self.items, strict=True):
            out += [sign * x for x in item] if isinstance(item, tuple) else [sign * item]
        return tuple(out)

    @property
    def value(self) -> int:
        return sum(self.flat)

    @property
    def text(self) -> str:
        return self._render("+", "-", "({})")

    @property
    def words(self) -> str:
        return self._render(" plus ", " minus ", "({})")

    def _render(self, plus: str, minus: str, bracket: str) -> str:
        def chain(signed: list[tuple[int, str]]) -> str:
            return "".join((plus if s > 0 else minus) * (i > 0) + x for i, (s, x) in enumerate(signed))

        parts = []
        for sign, item in zip(self.signs, self.items, strict=True):
            if isinstance(item, tuple):
                inner = chain([(1 if x > 0 else -1, str(abs(x))) for x in item])
                parts.append((sign, bracket.format(inner)))
            else:
                parts.append((sign, str(item)))
        return chain(parts)

    @property
    def canonical(self) -> str:
        """One name for all orders and bracketings of the same signed numbers.

        >>> Chain((1, -1), (12, (5, -3))).canonical == Chain((1, 1, -1), (3, 12, 5)).canonical
        True
        """
        return ",".join(f"{x:+d}" for x in sorted(self.flat))

    @property
    def split(self) -> str:
        return split_of(self.canonical)


def draw_chain(rng: random.Random, numbers: int, most: int, least: int = 1, bracket: float = 0.5) -> Chain:
    """A random chain of `numbers` numbers in [least, most], all of whose left-to-right values lie in 0..LIMIT.

    Raises ValueError after PATIENCE failed draws.
    """
    for _ in range(PATIENCE):
        values = [rng.randint(least, most) for _ in range(numbers)]
        signs = [1] + [rng.choice((1, -1)) for _ in range(numbers - 1)]
        items: list[Item] = list(values)
        if numbers > 2 and rng.random() < bracket:
            at = rng.randrange(numbers - 1)
            pair = (values[at], signs[at + 1] * values[at + 1])
            if sum(pair) < 0:
                continue
            items[at : at + 2] = [pair]
            del signs[at + 1]
        chain = Chain(tuple(signs), tuple(items))
        partial = 0
        for sign, item in zip(signs, items, strict=True):
            partial += sign * (sum(item) if isinstance(item, tuple) else item)
            if not 0 <= partial <= LIMIT:
                break
        else:
            return chain
    raise ValueError(f"task: hardly any chain of {numbers} numbers in {least}..{most} stays within 0..{LIMIT}")


def problems(split: str, seed: int, numbers: tuple[int, ...], most: int, least: int = 1) -> Iterator[Chain]:
    """A stream of draws from one split, some of them repeated; the same for the same arguments.  It ends only where
    PATIENCE draws in a row fell into other splits: there are too few such chains for this one to have any."""
    rng = random.Random(f"arithmetic/{split}/{seed}/{numbers}/{least}-{most}")
    missed = 0
    while missed < PATIENCE:
        chain = draw_chain(rng, rng.choice(numbers), most, least)
        missed = 0 if chain.split == split else missed + 1
        if not missed:
            yield chain


# ---------------------------------------------------------------- derivations: writing and checking them


@dataclass(frozen=True)
class Step:
    """One equation `left op right = result` of a solution, and where its text ends in the completion."""

    left: int
    op: str
    right: int
    result: int
    end: int

    @property
    def true(self) -> bool:
        return self.result == (self.left + self.right if self.op == "+" else self.left - self.right)


Table = tuple[tuple[int, Item], ...]  # what is still to be added up: (sign, number or bracket)


def moves(table: Table) -> list[tuple[tuple[int, str, int], Table]]:
    """Every equation that may be written next, with the table that a correct result leaves behind.

    Brackets are evaluated by themselves; two numbers of the outer chain join as
    (+a, +b) -> a+b, (-a, -b) -> -(a+b), (+a, -b) -> a-b where a >= b.
    """
    options = []
    for i, (sign, item) in enumerate(table):
        if isinstance(item, tuple):
            a, b = item
            step = (a, "+" if b > 0 else "-", abs(b))
            options.append((step, table[:i] + ((sign, a + b),) + table[i + 1 :]))
    plain = [(i, s, x) for i, (s, x) in enumerate(table) if isinstance(x, int)]
    for k, (i, s, x) in enumerate(plain):
        for j, t, y in plain[k + 1 :]:
            rest = tuple(e for m, e in enumerate(table) if m not in (i, j))
            if s == t and x + y <= LIMIT:
                options.append(((x, "+", y), rest + ((s, x + y),)))
            elif s != t:
                plus, minus = (x, y) if s > 0 else (y, x)
                if plus >= minus:
                    options.append(((plus, "-", minus), rest + ((1, plus - minus),)))
    return options


def derive(chain: Chain, rng: random.Random) -> list[tuple[int, str, int, int]]:
    """A random correct derivation: [(left, op, right, result), ...] down to the value."""
    while True:  # a random order can strand (all left are subtracted); draw again
        table: Table = tuple(zip(chain.signs, chain.items, strict=True))
        steps = []
        while len(table) > 1 or isinstance(table[0][1], tuple):
            choices = moves(table)
            if not choices:
                break
            (a, op, b), table = rng.choice(choices)
            steps.append((a, op, b, a + b if op == "+" else a - b))
        else:
            if table[0][0] > 0:
                return steps


def careful(chain: Chain, rng: random.Random) -> str:
    """A correct solution with its derivation written out, e.g. <think>5-3=2,12-2=10,10+4=14</think>#### 14."""
    body = ",".join(f"{a}{op}{b}={c}" for a, op, b, c in derive(chain, rng))
    return f"{THINK}{body}{ENDTHINK}{MARK}{chain.value}"


EQUATION = re.compile(r"(?<!\d)(\d{1,9})([+-])(\d{1,9})=(\d{1,9})(?!\d)")  # none of a thousand digits


def read_steps(text: str) -> list[Step]:
    """The equations of a completion, in order, before its final answer."""
    body = text.split(MARK.strip())[0]
    return [Step(int(m[1]), m[2], int(m[3]), int(m[4]), m.end()) for m in EQUATION.finditer(body)]


def check_steps(chain: Chain, text: str) -> list[bool]:
    """For each equation of `text`: is it true, and does it follow from the problem and the steps before it?

    A wrong result is wrong once: later steps are checked against the table that the *correct* result leaves, so
    a step that carries a wrong number on is wrong too (it uses a number that is not in the table).

    >>> check_steps(Chain((1, -1, 1), (12, (5, -3), 4)), "5-3=2,12-2=10,10+4=14 #### 14")
    [True, True, True]
    >>> check_steps(Chain((1, -1, 1), (12, (5, -3), 4)), "5-3=2,12-2=11,11+4=15 #### 15")
    [True, False, False]
    >>> check_steps(Chain((1, 1), (1, 2)), "#### 3")
    []
    """
    table: Table = tuple(zip(chain.signs, chain.items, strict=True))
    marks = []
    for step in read_steps(text):
        legal = dict(moves(table))
        key = (step.left, step.op, step.right)
        if key not in legal and step.op == "+":
            key = (step.right, step.op, step.left)
        marks.append(step.true and key in legal)
        table = legal.get(key, table)
    return marks


def key_of(text: str) -> str:
    """Two correct solutions with equal keys are the same: the list of equations (2308.01825's criterion)."""
    return ",".join(f"{s.left}{s.op}{s.right}={s.result}" for s in read_steps(text))


@dataclass(frozen=True)
class Sorting:
    """Sort numbers and name the largest: the retention task.

    >>> Sorting((7, 3, 12)).prompt
    'sort 7 3 12:'
    >>> print(Sorting((7, 3, 12)).solution)
    3 7 12
    #### 12
    """

    numbers: tuple[int, ...]

    @property
    def canonical(self) -> str:
        return "sort," + ",".join(map(str, sorted(self.numbers)))

    @property
    def prompt(self) -> str:
        return f"sort {' '.join(map(str, self.numbers))}:"

    @property
    def solution(self) -> str:
        return f"{' '.join(map(str, sorted(self.numbers)))}\n{MARK}{max(self.numbers)}"


def draw_sorting(rng: random.Random, split: str) -> Sorting:
    while True:
        problem = Sorting(tuple(rng.randint(0, LIMIT) for _ in range(rng.choice((3, 4)))))
        if split_of(problem.canonical) == split:
            return problem
