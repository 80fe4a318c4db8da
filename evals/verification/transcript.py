"""What a policy wrote beside what its tools answered: a completion of several turns, as tasks and rewards see it.

The text is the policy's own words alone, in their order.  What a tool answered is in `turns`: it can hold anything, a
final answer or a tag too, and nothing of it is read as the policy's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """A call and what came of it.  Turn("search", "price of belzor", "price of belzor: 7")"""

    tool: str
    query: str
    result: str  # as the policy read it: without its tags, cut at the limit
    failed: bool = False  # the tool raised, took too long, or gave no text; the result says so


class Transcript(str):
    """The policy's own words; `turns` are its calls.

    >>> text = Transcript("<search>price of belzor</search>#### 7", [Turn("search", "price of belzor", "...: 7")])
    >>> text.endswith("#### 7"), len(turns_of(text)), turns_of("#### 7")
    (True, 1, ())
    """

    turns: tuple[Turn, ...] = ()

    def __new__(cls, text: str, turns: Iterable[Turn] = ()) -> Transcript:
        self = super().__new__(cls, text)
        self.turns = tuple(turns)
        return self


def turns_of(text: str) -> tuple[Turn, ...]:
    """The calls of a completion; none of a plain text."""
    return getattr(text, "turns", ())


def with_turns(text: str, like: str) -> str:
    """`text` with the calls of `like`; a plain text where that is one."""
    return Transcript(text, like.turns) if isinstance(like, Transcript) else text
