"""Invented things and their prices, ages, ...: a world that was never written about.

A name is two syllables (`belzor`); what is true of it is a number in 1..LARGEST that a hash draws.  Names are divided
into splits by their hash, so that what a run is trained on says nothing of what it is tested on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from evals.tasks.data.arithmetic_chains import split_of

SYLLABLES = tuple(onset + rime for onset in "bdfklmnprtvz" for rime in ("ab", "el", "im", "or"))
ATTRIBUTES = ("price", "age", "height", "weight", "distance")
LARGEST = 9  # of a fact


@dataclass(frozen=True)
class Fact:
    """Fact("price", "belzor", 7)"""

    attribute: str
    name: str
    value: int

    @property
    def query(self) -> str:
        """What it is looked up by.

        >>> Fact("price", "belzor", 7).query
        'price of belzor'
        """
        return f"{self.attribute} of {self.name}"

    @property
    def text(self) -> str:
        """As the corpus says it.

        >>> Fact("price", "belzor", 7).text
        'price of belzor: 7'
        """
        return f"{self.query}: {self.value}"


@cache
def names(split: str) -> tuple[str, ...]:
    """The names of a split: pretrain, train, selection, test.

    >>> len({*names("train")} & {*names("test")}), names("test")[0] != ""
    (0, True)
    """
    return tuple(a + b for a, b in permutations(SYLLABLES, 2) if split_of(f"name,{a}{b}") == split)


def fact(attribute: str, name: str) -> Fact:
    """What is true: a number that depends on attribute and name alone."""
    digest = hashlib.sha256(f"fact,{attribute},{name}".encode()).digest()
    return Fact(attribute, name, 1 + int.from_bytes(digest[:8], "big") % LARGEST)


def corpus() -> Iterator[Fact]:
    """Every fact about the names of RL, tuning and test."""
    for split in ("train", "selection", "test"):
        for name in names(split):
            for attribute in ATTRIBUTES:
                yield fact(attribute, name)
