r"""Text -> answers: where a text marks its final answers, and one normal form for each.

Standard library only.  Whether two answers are equal is decided in `verifier.py`.  Every function takes time linear in
its text, whatever the model wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Literal

Format = Literal["hash", "boxed", "answer_is"]  # '#### 14', '\boxed{14}', 'The answer is 14.'
Marks = list[tuple[int, str]]  # marked answers: (where the answer starts, its text)

TAIL = 20_000  # characters of a completion that are read, counted from its end
LONGEST = 1_000  # characters of an answer; more is not an answer

_NUM = r"(?:(?:[0-9]{1,3}(?:[, ][0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?"
_MONEY = r"(?:\\?[$€£¥])"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*{_MONEY}?\s*(?P<sign2>[-+]?)\s*
    (?: (?:(?P<whole>[0-9]+)\s+)?(?P<a>{_NUM})\s*/\s*(?P<b>{_NUM})
      | (?P<whole2>[0-9]*)\s*\\frac\s*(?:\{{\s*(?P<c>-?{_NUM})\s*\}}|(?P<c1>[0-9]))
                                \s*(?:\{{\s*(?P<d>{_NUM})\s*\}}|(?P<d1>[0-9]))
      | (?P<n>{_NUM}) )
    \s*(?:\\?%|{_MONEY}|°|\^\s*\{{?\s*\\circ\s*\}}?)?""".replace("[, ]", r"[,\ ]"),
    re.VERBOSE,
)
_IN_TEXT = re.compile(r"(?:(?<![\w)\]}])-\$?)?(?<![0-9])" + _NUM.replace("[, ]", ",") + "(?:/[0-9]+)?")
_CHARS = str.maketrans(dict.fromkeys("−–‐‑﹣－", "-") | dict.fromkeys("\xa0\u2009\u202f~", " "))
_TEXT = re.compile(r"\\(?:text|textrm|textbf|mathrm|mbox)\s*\{([^{}]*)\}")
_UNIT = re.compile(rf"(?<=[0-9}})\]])\s*{_TEXT.pattern}(?:\s*\^\s*\{{?[0-9]\}}?)?$")
_NO_UNIT = re.compile(r"(?i)\b(?:and|or|not|if|more|less|dozen|hundred|thousand|\w+illion)s?\b")
_LATEX = re.compile(r"\\(?:begin|end)\s*\{[a-z*]+\}(?:\{[clr|]*\})?|\\operatorname\s*\{\w+\}|\\[A-Za-z]+")
_FUNCTIONS = re.compile(r"(?<![A-Za-z])(?:sqrt|pi|sin|cos|tan|log|ln|exp)(?![A-Za-z])")
_CHAIN = re.compile(r"(?<![<>!:=\\])==?(?![=>])|≈|\\(?:approx|equiv)(?![A-Za-z])")
_OPERATION = re.compile(r"[+*/^(\\×÷·]|(?<=.)[-−]")  # a sign at the front is none
_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'?(?:\([^()]*\))?")
_HUGE = re.compile(  # 9^9999, 9**9**9, 9999!, 9!!, 1e9999
    r"(?<![0-9.])(?:[2-9]|[0-9]{2,})[\s)}]*(?:\^|\*\*)[\s{(]*(?:-?[0-9]{4}|[0-9.]+[\s{}()]*(?:\^|\*\*)[\s{(]*[0-9])"
    r"|[0-9]{4}[\s)}]*!|![\s)}]*!|[0-9][eE][-+]?[0-9]{4}"
)


CACHED = 4096  # answers whose normal forms are remembered: a group gives the same ones again and again


# ---------------------------------------------------------------- normal forms


@lru_cache(CACHED)
def number(text: str) -> Fraction | None:
    r"""The exact value of a plain number, None for anything else.

    >>> [str(number(x)) for x in ("1,000", "-$3.50", "18.", "-0", "1 1/2", r"\frac{3}{4}", "50%", "14 apples")]
    ['1000', '-7/2', '18', '0', '3/2', '3/4', '50', 'None']
    """
    match = _NUMBER.fullmatch(text) if len(text) <= LONGEST else None
    if match is None or (match["sign"] and match["sign2"]):
        return None
    above, below = (
        Fraction(re.sub("[, ]", "", match[a] or match[b] or match[c] or "1"))
        for a, b, c in (("n", "a", "c"), ("b", "d", "d1"))
    )
    if match["c1"]:
        above = Fraction(match["c1"])
    if below == 0:
        return None
    sign = -1 if "-" in match["sign"] + match["sign2"] else 1
    return sign * (int(match["whole"] or match["whole2"] or 0) + above / below)


@lru_cache(CACHED)
def clean(text: str) -> str:
    r"""An answer without its markup: math and bold marks, a box, the final stop, LaTeX units.

    >>> [clean(x) for x in (" **14**. ", "$x + 1$", r"\boxed{\dfrac{1}{2}}", r"14\text{ cm}^2", "−5")]
    ['14', 'x + 1', '\\frac{1}{2}', '14', '-5']
    """
    text = " ".join(text.translate(_CHARS).split())
    if len(text) > 2 * LONGEST:
        return text[: LONGEST + 1]  # too long to be an answer, and still too long
    text = text.replace("{,}", ",").replace(r"\!", "")
    text = re.sub(r"\\(?:left|right)(?:\.|(?![A-Za-z]))", "", text)
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text)
    text = re.sub(r"(?<!\\)\\[,;: ]", " ", text)
    for _ in range(8):  # as many layers as anyone writes
        before = text
        text = " ".join(text.split()).strip(' *`"').rstrip(".,;:")
        for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
            inner = text[len(opening) : -len(closing)]
            if text == opening + inner + closing and opening not in inner:
                text = inner
        box = _boxed(text)[-1:] if text.startswith((r"\boxed", r"\fbox")) else []
        if box and text[: box[0][0]].count("{") == 1 and box[0][0] + len(box[0][1]) == len(text) - 1:
            text = box[0][1]
        if (unit := _UNIT.search(text)) and not _NO_UNIT.search(unit[1]):
            text = text[: unit.start()]
        if text == before:
            break
    return text


def canonical(text: str) -> str:
    """One text for all ways to write a number; any other answer as `clean` leaves it.

    >>> canonical("18.0"), canonical("0.75"), canonical("$x+1$")
    ('18', '3/4', 'x+1')
    """
    text = clean(text)
    value = number(text)
    return text if value is None else str(value)


def words(text: str) -> str | None:
    r"""The words of an answer that is LaTeX text and nothing else, as they are compared; None for other answers.

    >>> words(r"\text{(C)}"), words(r"\text{Evelyn}"), words("x+1")
    ('c', 'evelyn', None)
    """
    return plain_words(text) if _TEXT.fullmatch(text) else None


def plain_words(text: str) -> str:
    """The text as words are compared: letter case, spaces, brackets and LaTeX's \\text aside.

    >>> plain_words("(Evelyn  Smith)")
    'evelyn smith'
    """
    return " ".join(_TEXT.sub(r"\1", text).split()).strip("() .").casefold()


def prose(text: str, letters: int) -> bool:
    r"""Has it a word of that many letters that is neither LaTeX nor a function?

    >>> prose("14 apples", 3), prose("14 cm", 3), prose("14 cm", 2), prose(r"2\pi + sqrt(3)", 2)
    (True, False, True, False)
    """
    bare = _FUNCTIONS.sub(" ", _LATEX.sub(" ", _TEXT.sub(" ", text)))
    return re.search(rf"[^\W\d_]{{{letters}}}", bare) is not None


def huge(text: str) -> bool:
    """Does it name a power or factorial too large to compute?

    >>> huge("9**9**9"), huge("10^{12345}"), huge("2^{10}"), huge("x^{2^3}")
    (True, True, False, False)
    """
    return _HUGE.search(text) is not None


def sides(text: str) -> list[str]:
    """The values that an answer claims to be: the sides of a chain of equations, without a name on the left.

    A list such as `x=1, y=2` is one value.

    >>> sides("x = 10/2 = 5"), sides("5"), sides("3+4=7"), sides("x=1, y=2")
    (['10/2', '5'], ['5'], ['3+4', '7'], ['x=1, y=2'])
    """
    values = [clean(side) for side in _CHAIN.split(text)]
    if any(("," in side or ";" in side) and number(side) is None for side in values):
        return [text]
    return values[1:] if len(values) > 1 and (not values[0] or _NAME.fullmatch(values[0])) else values


def unfinished(answer: str) -> bool:
    r"""Does the answer leave something to calculate?

    >>> [unfinished(x) for x in ("8", "-8", "8 apples", "16/2", "24-(25-9)", r"\frac{16}{2}")]
    [False, False, False, True, True, True]
    """
    return _OPERATION.search(answer) is not None


# ---------------------------------------------------------------- finding answers


def final_part(completion: str) -> str:
    """The part of a completion that is searched for answers: its tail, after the thinking.

    >>> final_part("<think>14?</think>The answer is 15."), final_part("14 <think> or 15")
    ('The answer is 15.', '14 ')
    """
    return completion.rpartition("</think>")[2].partition("<think>")[0][-TAIL:]


def numbers(text: str) -> list[str]:
    """The numbers in a text, in order.  A minus after a digit or bracket is an operator.

    >>> numbers("12-(5-3)+4=14, or -$1,000.50 and 3/4.")
    ['12', '5', '3', '4', '14', '-$1,000.50', '3/4']
    """
    return [match[0] for match in _IN_TEXT.finditer(text.translate(_CHARS))]


_TO_END = re.compile(r"[^\r\n]*?(?=####|[\r\n]|$)")


def _hash(text: str) -> Marks:
    lines = (_TO_END.match(text, mark.end()) for mark in re.finditer(r"(?<!#)####(?!#)", text))
    return [(rest.start(), rest[0]) for rest in lines if rest and rest[0].strip()]


def _boxed(text: str) -> Marks:
    boxes: Marks = []
    open_: list[tuple[bool, int]] = []  # of each open brace: is it a box's, and where its content starts
    for token in re.finditer(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", text):
        if token[0] == "{" or len(token[0]) > 2:
            open_.append((token[0] != "{", token.end()))
        elif token[0] == "}" and open_:
            box, start = open_.pop()
            if box:
                while boxes and boxes[-1][0] > start:  # those inside this one
                    boxes.pop()
                boxes.append((start, text[start : token.start()]))
    return [(at, content) for at, content in boxes if content.strip()]


def _answer_is(text: str) -> Marks:
    matches = re.finditer(r"(?i)\bthe\s+(?:final\s+)?answer\s+is\b[\s:*]*((?:[^.\r\n]|\.(?=\S))*)", text)
    return [(match.start(1), match[1]) for match in matches if match[1].strip()]


READERS: dict[Format, Callable[[str], Marks]] = {"hash": _hash, "boxed": _boxed, "answer_is": _answer_is}


def marked(text: str, format: Format) -> Marks:
    r"""The non-empty answers marked in a format, in order.

    `hash`: from `####` to the end of the line.  A mark that starts with a word is a heading, passed over where
    there is another.  `boxed`: balanced `\boxed{}` and `\fbox{}`, the outer of nested ones.  `answer_is`: from
    `the (final) answer is` to the end of the sentence or line; the dot of 3.5 ends no sentence.

    >>> marked("#### Step 1: add\n12+2=14\n#### 14", "hash"), marked(r"so \boxed{\frac{1}{2}}", "boxed")
    ([(29, ' 14')], [(10, '\\frac{1}{2}')])
    """
    marks = READERS[format](text)
    return [mark for mark in marks if format != "hash" or not re.match(r"[\s*]*[A-Za-z]{2}", mark[1])] or marks
