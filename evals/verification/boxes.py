r"""Several boxes in a text: are they the items of one list, and how does that list read?

\boxed{1} and \boxed{-2}                          1, -2
y_1 = \boxed{2x} and y_2 = \boxed{3x}             y_1 = 2x, y_2 = 3x: the names are the answer's
\boxed{3} \text{ for part (a) and } \boxed{1}     (3, 1): of parts, the order counts
"""

from __future__ import annotations

import re

_SIGN = r"\s|[$,;.&]|\\[()\[\],;:! ]|\\q?quad|\\text\s*\{\s*(?:,?\s*and|or)\s*\}|and\b|or\b"
_JOINT = re.compile(rf"(?:{_SIGN}){{0,12}}")
_BOX_EDGES = re.compile(r"^\s*\}|\\(?:boxed|fbox)\s*\{?\s*$")
_NAME = r"(?P<name>[A-Za-z](?:_(?:\w|\{\w{1,8}\}))?(?:\([A-Za-z0-9]\))?)\s*=\s*"
_NAMED = re.compile(rf"(?:{_SIGN}){{1,12}}{_NAME}")
_NAME_BEFORE = re.compile(rf"(?:^|[\s$(\[,;]){_NAME}\\(?:boxed|fbox)\s*\{{?\s*$")
_PART = re.compile(
    r"\s*\$?\s*(?:\\text\s*\{)?\s*for part \(?(?P<part>[a-h1-8])\)?\s*(?:,|and\b|,\s*and\b)?\s*\}?\s*\$?\s*"
)


def between(text: str, marks: list[tuple[int, str]]) -> list[str]:
    """What stands between each box and the next."""
    parts = [text[start + len(answer) : after] for (start, answer), (after, _) in zip(marks, marks[1:], strict=False)]
    return [_BOX_EDGES.sub("", part) for part in parts]


def one_list(text: str, marks: list[tuple[int, str]]) -> bool:
    """Are the boxes of a text the items of one list: nothing but commas, `and` and signs between them?"""
    return all(_JOINT.fullmatch(part) for part in between(text, marks))


def box_names(text: str, marks: list[tuple[int, str]]) -> list[str] | None:
    """The name before each box, where each has one and nothing else is between them but signs.

    >>> box_names(r"$x = \\boxed{1}$ and $y = \\boxed{2}$", [(12, "1"), (32, "2")])
    ['x', 'y']
    """
    first = _NAME_BEFORE.search(text[max(0, marks[0][0] - 60) : marks[0][0]])
    found = [first, *(_NAMED.fullmatch(part) for part in between(text, marks))]
    given = [match["name"] for match in found if match is not None]
    return given if len(given) == len(marks) else None


def in_parts(text: str, marks: list[tuple[int, str]]) -> bool:
    r"""Are the boxes the answers of part (a), part (b) and so on, in that order?"""
    found = [_PART.fullmatch(part) for part in between(text, marks)]
    labels = "".join(match["part"] for match in found if match is not None)
    return len(labels) == len(found) and ("abcdefgh".startswith(labels) or "12345678".startswith(labels))
