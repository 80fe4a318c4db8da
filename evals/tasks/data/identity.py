"""Which questions are the same problem: the canonical form that an id is the hash of.

    id = hash(canonical form, details)

The canonical form leaves out case, spacing and the punctuation of sentences, so that a copy of a problem is found in
another split.  Some of that is mathematics: 10² is not 102, n! not n, A not a.  Such details are hashed with it; a
question without any (nearly all of GSM8K's) has none, and its id is the hash of the canonical form alone.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙᵢₓₐₖ"
_FUNCTIONS = "sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|arc"
_DETAIL = re.compile(
    rf"""(?P<shifted>[{_RAISED}]+|[{_LOWERED}]+)
    | (?P<math>\$(?![\s$])[^$\n]{{1,400}}?(?<![\s$])\$(?![0-9$])|\\\(.{{1,400}}?\\\)|\\\[.{{1,400}}?\\\])
    | (?P<prime>(?<![^\W\d_])[A-Za-z]['\u2019\u2032]+(?![\w(]))
    | (?P<factorial>(?<![^\W\d_])[A-Za-z]!|(?<=[\w)])\)!)
    | (?P<letter>(?<![^\W\d_'\u2019])[A-Za-z](?![^\W\d_]|['\u2019]))
    | (?P<minus>(?<=\w)-(?=(?:{_FUNCTIONS})(?![a-z]))|(?<=\d)(?:[\u2010-\u2015]|--)(?=\d))
    | (?P<fraction>(?<=\d)[¼-¾⅐-⅞])""",
    re.VERBOSE,
)
_BEFORE = re.compile(r"(?i)(?:[=+*^<>]|\b(?:solve for|find|compute|evaluate|value of|determine|calculate|let|for))\s?$")
_AFTER = re.compile(r"\s?[=+*^<>]")


def problem_id(question: str) -> str:
    """16 hex digits that name the problem.  ValueError where nothing of the question is left."""
    if not (name := canonical(question)):
        raise ValueError("the question is empty")
    return hashlib.sha256("\n".join([name, *details(question)]).encode()).hexdigest()[:16]


def canonical(question: str) -> str:
    """The question without case, spacing and the punctuation of sentences.  The signs of arithmetic stay.

    >>> canonical("Ann has 1,000  apples -- no, $5.50.  What is 5-3?")
    'ann has 1000 apples no 5.50 what is 5 - 3'
    """
    text = unicodedata.normalize("NFKC", question).casefold().replace("\u2212", "-")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"'(?!\()|[\u2019\u2018`\u00b4]", "", text)
    text = re.sub(r"(?<=\w)-(?=[^\W\d_]{2})|--+|[\u2010-\u2015]", " ", text)  # ice-cream; not 5-3, x-y
    text = re.sub(r"\.(?!\d)|(?<!\d)!|[,;:?$\"\u201c\u201d\u00ab\u00bb\u00bf\u00a1\u3001\u3002]", " ", text)
    return " ".join(re.sub(r"([-+*/=<>^%()])", r" \1 ", text).split())


def details(question: str) -> list[str]:
    """What of its mathematics the canonical form leaves out, in order; empty where it leaves out nothing of it.

    Single letters are listed, large and small, where a large one stands for a number: beside a sign, or to be found.

    >>> details("Solve 10² = A for A, not a."), details("A man had $5; team B had log₂8."), details("Ann has 5-3 x.")
    (['^2', 'A', 'A', 'a'], ['_2'], [])
    """
    matches = list(_DETAIL.finditer(question))
    letters = any(_is_variable(match, question) for match in matches)
    described = ((match.lastgroup, match[0]) for match in matches)
    return [text for kind, raw in described if (text := _described(kind, raw)) and (letters or kind != "letter")]


def _described(kind: str | None, text: str) -> str:
    """A detail as it is hashed; "" for a formula of which the canonical form leaves out nothing."""
    if kind == "shifted":
        return ("^" if text[0] in _RAISED else "_") + unicodedata.normalize("NFKC", text)
    if kind == "math":
        formula = "".join(text.strip("$").split())
        prose = re.search(r"(?<![A-Za-z\\])[A-Za-z]{4}", text)  # between two prices
        lost = re.search(r"[A-Z]|[,;:'!?][^\d\s]", formula.removesuffix("?"))
        return formula if lost and not prose else ""
    return text


def _is_variable(match: re.Match[str], question: str) -> bool:
    """Is it a large letter that stands for a number?  `team A` and `T-shirt` are names."""
    if match.lastgroup != "letter" or not match[0].isupper():
        return False
    before, after = question[max(0, match.start() - 12) : match.start()], question[match.end() : match.end() + 2]
    if match[0] in "AI" and re.match(r" [^\W\d_]", after):  # `of A long rope`: an article
        return False
    return _AFTER.match(after) is not None or _BEFORE.search(before) is not None
