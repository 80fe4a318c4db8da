"""Names, things, and the templates with the words and equations of stories (`stories.py`)."""

from __future__ import annotations

from dataclasses import dataclass

# fmt: off
NAMES = (
    "Tom", "Mia", "Ben", "Ana", "Leo", "Eva", "Sam", "Ida", "Max", "Zoe", "Jon", "Amy", "Raj", "Lin", "Omar", "Sara",
    "Paul", "Nina", "Hugo", "Vera", "Otto", "Ella", "Finn", "Ruth", "Carl", "Lucy", "Ivan", "Rosa", "Dean", "Jane",
)
THINGS = (
    ("apples", "baskets"), ("marbles", "bags"), ("cookies", "tins"), ("pencils", "boxes"), ("stickers", "sheets"),
    ("eggs", "cartons"), ("books", "crates"), ("shells", "jars"), ("candles", "packs"), ("flowers", "vases"),
    ("coins", "purses"), ("cards", "decks"), ("beads", "strings"), ("oranges", "nets"), ("buttons", "trays"),
    ("stamps", "albums"), ("toys", "chests"), ("cakes", "plates"),
)
# fmt: on


@dataclass(frozen=True)
class Template:
    """One or two sentences, and its steps: (words before the equation, the equation, words after it).

    In `text`, {a}, {b} and {k} are factors or divisors and {c} is an addend.  An ending comes last: its result is
    another quantity than `x`, and it has its own question.
    """

    text: str
    steps: tuple[tuple[str, str, str], ...]
    question: str = ""


@dataclass(frozen=True)
class Theme:
    """Templates that go together: openings, events, possible endings, and the question."""

    openings: tuple[Template, ...]
    events: tuple[Template, ...]
    endings: tuple[Template, ...]
    question: str


POSSESSIONS = Theme(
    openings=(
        Template("{name} has {a} {boxes} of {b} {things}.", (("In all {name} has", "a*b", "{things}"),)),
        Template("{name} gets {a} {things} a day for {b} days.", (("In these days {name} gets", "a*b", "{things}"),)),
        Template("{name} has {c} {things} and finds {a} more.", (("Together {name} has", "c+a", "{things}"),)),
        Template(
            "{friend} has {a} {things}, and {name} has {b} times as many.",
            (("To begin with {name} has", "a*b", "{things}"),),
        ),
    ),
    events=(
        Template("{friend} gives {name} {c} more.", (("With these {name} has", "x+c", "{things}"),)),
        Template("{name} gives {c} of the {things} to {friend}.", (("After that {name} has", "x-c", "{things}"),)),
        Template("Then {name} loses {c} {things}.", (("What is left is", "x-c", "{things}"),)),
        Template(
            "{name} puts all the {things} equally into {k} {boxes} and keeps only one of the {boxes}.",
            (("One of the {boxes} holds", "x/k", "{things}"),),
        ),
        Template("A year later {name} has {k} times as many.", (("A year later {name} has", "x*k", "{things}"),)),
        Template(
            "{name} buys {a} more {boxes} of {b} {things}.",
            (("The new {boxes} hold", "a*b", "{things}"), ("Now {name} has", "x+y", "{things}")),
        ),
        Template(
            "{name} gives {b} {things} to each of {a} friends.",
            (("The friends get", "a*b", "{things}"), ("So {name} keeps", "x-y", "{things}")),
        ),
    ),
    endings=(
        Template(
            "{name} sells all of the {things} for {k} dollars each.",
            (("For them {name} gets", "x*k", "dollars"),),
            "How many dollars does {name} get?",
        ),
        Template(
            "{name} shares all of the {things} equally among {k} friends.",
            (("Each of the friends gets", "x/k", "{things}"),),
            "How many {things} does each of the friends get?",
        ),
    ),
    question="How many {things} does {name} have now?",
)
# For evaluation only: neither pretraining nor training uses these wordings.
WORK = Theme(
    openings=(
        Template("{name} earns {a} dollars an hour and works {b} hours.", (("{name} earns", "a*b", "dollars"),)),
    ),
    events=(
        Template("Next, {name} pays {c} dollars for a ticket.", (("{name} still has", "x-c", "dollars"),)),
        Template("An aunt sends {c} dollars.", (("That makes", "x+c", "dollars"),)),
        Template(
            "Lunch for {a} people at {b} dollars a head is on {name}.",
            (("Lunch costs", "a*b", "dollars"), ("There remain", "x-y", "dollars")),
        ),
    ),
    endings=(
        Template(
            "All of it goes into {k} equal gifts.",
            (("A gift is worth", "x/k", "dollars"),),
            "What is one gift worth, in dollars?",
        ),
    ),
    question="How much money is there in the end, in dollars?",
)
TRIP = Theme(
    openings=(Template("A train runs for {a} hours at {b} miles an hour.", (("It covers", "a*b", "miles"),)),),
    events=(
        Template("From there {name} walks {c} miles further.", (("The way is", "x+c", "miles"),)),
        Template("The trip back is shorter by {c} miles, and only it counts.", (("It is", "x-c", "miles"),)),
        Template(
            "A bus then takes {name} on, {a} hours at {b} miles an hour.",
            (("The bus covers", "a*b", "miles"), ("The way is", "x+y", "miles")),
        ),
    ),
    endings=(
        Template(
            "Somebody else does the same distance in {k} equal days.",
            (("A day has", "x/k", "miles"),),
            "How many miles a day is that?",
        ),
    ),
    question="How many miles is that?",
)
FAMILIAR, UNSEEN = (POSSESSIONS,), (WORK, TRIP)
