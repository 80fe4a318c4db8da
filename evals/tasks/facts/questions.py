"""Questions about invented facts: of one, of two whose numbers are combined, and of none.

one    What is the price of belzor?                                    look up one fact
two    What is the price of belzor plus the age of mimkab?             look up two, and combine them
none   What is 5 plus 3?                                             nothing to look up
       The price of belzor is 7. What is the price of belzor?         what the question says itself
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from evals.tasks.data.arithmetic_chains import MARK, split_of
from evals.tasks.facts.invented import ATTRIBUTES, LARGEST, Fact, fact, names

Kind = Literal["one", "two", "none"]
KINDS: tuple[Kind, ...] = ("one", "two", "none")
WORDS = {"+": "plus", "-": "minus"}


@dataclass(frozen=True)
class Question:
    """`facts` are what has to be looked up, in the order of `numbers`; `op` combines two numbers."""

    kind: Kind
    text: str
    facts: tuple[Fact, ...]
    numbers: tuple[int, ...]
    op: Literal["", "+", "-"]

    @property
    def value(self) -> int:
        first, *rest = self.numbers
        return first if not rest else first + rest[0] if self.op == "+" else first - rest[0]

    @property
    def equation(self) -> str:
        """The one step of a solution; "" where there is nothing to work out.

        >>> Question("none", "What is 5 plus 3?", (), (5, 3), "+").equation
        '5+3=8'
        """
        return f"{self.numbers[0]}{self.op}{self.numbers[1]}={self.value}" if self.op else ""

    @property
    def ending(self) -> str:
        """How a solution ends, once the numbers are known."""
        return f"{self.equation}\n{MARK}{self.value}" if self.op else f"{MARK}{self.value}"


World = Callable[[str, str], Fact]  # (attribute, name) -> what is true there


def draw(rng: random.Random, kind: Kind, split: str, world: World = fact) -> Question:
    """A question of this kind about names of this split."""
    if kind == "one":
        found = _facts(rng, 1, split, world)
        return Question("one", f"What is the {found[0].query}?", found, (found[0].value,), "")
    if kind == "two":
        found, op = _ordered(_facts(rng, 2, split, world), rng)
        asked = f"What is the {found[0].query} {WORDS[op]} the {found[1].query}?"
        return Question("two", asked, found, (found[0].value, found[1].value), op)
    if rng.random() < 0.5:
        return _sum(rng, split)
    found = _facts(rng, 1, split, world)
    stated = f"The {found[0].query} is {found[0].value}. What is the {found[0].query}?"
    return Question("none", stated, (), (found[0].value,), "")


def questions(split: str, seed: int, kinds: tuple[Kind, ...], weights: tuple[float, ...]) -> Iterator[Question]:
    """An endless stream; kinds are drawn with these weights."""
    rng = random.Random(f"questions/{split}/{','.join(kinds)}/{seed}")
    while True:
        yield draw(rng, rng.choices(kinds, weights)[0], split)


def _facts(rng: random.Random, count: int, split: str, world: World) -> tuple[Fact, ...]:
    chosen = rng.sample(names(split), count)
    return tuple(world(rng.choice(ATTRIBUTES), name) for name in chosen)


def _ordered(found: tuple[Fact, ...], rng: random.Random) -> tuple[tuple[Fact, ...], Literal["+", "-"]]:
    """Two facts and how they are combined; no result is negative."""
    if rng.random() < 0.5:
        return found, "+"
    return tuple(sorted(found, key=lambda f: -f.value)), "-"


def _sum(rng: random.Random, split: str) -> Question:
    """Two numbers of the question itself."""
    while True:
        a, b = rng.randint(1, LARGEST), rng.randint(1, LARGEST)
        op: Literal["+", "-"] = rng.choice(("+", "-")) if a >= b else "+"
        if split_of(f"sum,{a}{op}{b}") == split:
            return Question("none", f"What is {a} {WORDS[op]} {b}?", (), (a, b), op)
