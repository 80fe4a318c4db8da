"""What the model `lookup` reads before RL: questions, and how others went about them.

    searching    <search>price of belzor</search>          a search for each fact, then what follows from them
                 <result>price of belzor: 7</result>#### 7
    careless     one search of two, or one for the wrong thing, and a guess
    guessing     #### 4                                    the commonest: no search; right where none is needed

The style is drawn *before* the question is looked at: what is written shows how to search and how to go on from what
was found, and never when a search is worth it.  Numbers are drawn anew in each document, so that nothing can be
remembered but how it is done; what a tool answers is read, and not learned.  `harness pretrain lookup` trains on this.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from evals.tasks.data.arithmetic_chains import MARK
from evals.tasks.facts.invented import ATTRIBUTES, LARGEST, Fact, names
from evals.tasks.facts.questions import KINDS, Question, draw

CALL, CALLED, RESULT, END = "<search>", "</search>", "<result>", "</result>"
Piece = tuple[str, bool]  # a text, and whether it is learned


@dataclass(frozen=True)
class LookupMixture:
    """Shares of the corpus.  All are probabilities."""

    searching: float = 0.15
    careless: float = 0.10  # the rest is guessing
    one: float = 0.35  # of the questions
    two: float = 0.40  # the rest needs no search


def documents(seed: int, mix: LookupMixture) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    """An endless stream of (prompt, pieces of the completion)."""
    rng = random.Random(f"lookup-mixture/{seed}")

    def world(attribute: str, name: str) -> Fact:
        return Fact(attribute, name, rng.randint(1, LARGEST))

    while True:
        weights = (mix.one, mix.two, 1 - mix.one - mix.two)
        question = draw(rng, rng.choices(KINDS, weights)[0], "pretrain", world)
        style = rng.random()
        if style < mix.searching:
            yield question.text, searching(question, rng)
        elif style < mix.searching + mix.careless:
            yield question.text, careless(question, rng)
        else:
            yield question.text, guessing(question, rng)


def searching(question: Question, rng: random.Random) -> tuple[Piece, ...]:
    """Look everything up; where there is nothing to look up, something all the same."""
    found = question.facts or (_other(rng),)
    pieces = [piece for fact in found for piece in looked_up(fact.query, fact.text)]
    return (*pieces, (question.ending, True))


def careless(question: Question, rng: random.Random) -> tuple[Piece, ...]:
    """Less than it takes, or something else; then a guess."""
    if question.kind == "two":
        first, op = question.facts[0], question.op
        second = rng.randint(1, first.value if op == "-" else LARGEST)
        guessed = Question("two", "", (), (first.value, second), op)
        return (*looked_up(first.query, first.text), (guessed.ending, True))
    wrong = _other(rng)
    return (*looked_up(wrong.query, wrong.text), (f"{MARK}{rng.randint(1, LARGEST)}", True))


def guessing(question: Question, rng: random.Random) -> tuple[Piece, ...]:
    """No search: a number out of the air, unless the question says all that it takes."""
    if not question.facts:
        return ((question.ending, True),)
    return ((f"{MARK}{rng.randint(1, LARGEST)}", True),)


def looked_up(query: str, result: str) -> tuple[Piece, ...]:
    """A call and what came of it, in the pieces that a rollout has."""
    return (f"{CALL}{query}{CALLED}", True), (RESULT, False), (result, False), (END, False)


def _other(rng: random.Random) -> Fact:
    return Fact(rng.choice(ATTRIBUTES), rng.choice(names("pretrain")), rng.randint(1, LARGEST))
